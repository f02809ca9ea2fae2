# patch_windows/cancel.ps1: end the tasks of win_updates that nobody asks any more, because the connection broke.
# They are told by the event that win_updates itself would use. An update that is being installed is finished first.
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$mark = 'Ansible.Windows.WinUpdates-'
function Get-Ids {
    @([IO.Directory]::GetFiles('\\.\pipe\') | Where-Object { $_ -like "*$mark*" } | ForEach-Object { $_.Substring($_.IndexOf($mark)) })
}
$found = @(Get-Ids)
foreach ($id in $found) {
    $signal = $null
    if ([Threading.EventWaitHandle]::TryOpenExisting("Global\$id", [ref]$signal)) {
        [void]$signal.Set()
        $signal.Dispose()
    }
}
$until = [DateTime]::UtcNow.AddSeconds(30)
while (@(Get-Ids).Count -gt 0 -and [DateTime]::UtcNow -lt $until) { Start-Sleep -Milliseconds 500 }
$Ansible.Changed = $found.Count -gt 0
$Ansible.Result = @{ json = (ConvertTo-Json -InputObject @{ told = $found.Count; left = @(Get-Ids).Count } -Compress) }
