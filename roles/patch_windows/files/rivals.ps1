# patch_windows/rivals.ps1: hold what updates this host by itself, or give it back as it was.
# Windows Update's own schedule is held by the policy NoAutoUpdate, which win_updates does not care for; MECM's client by its
# service. -Kept says how things stood before; it was written to the disk before anything was held.
[CmdletBinding()]
param(
    [Parameter(Mandatory)][ValidateSet('hold', 'give-back')][string]$Deed,
    [Parameter(Mandatory)][string]$Kept
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$before = ConvertFrom-Json -InputObject $Kept
$key = 'HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU'
$changed = $false

function Get-Current {
    if (-not (Test-Path -LiteralPath $key)) { return $null }
    (Get-Item -LiteralPath $key).GetValue('NoAutoUpdate', $null)
}

if ($Deed -eq 'hold') {
    if ((Get-Current) -ne 1) {
        if (-not (Test-Path -LiteralPath $key)) { [void](New-Item -Path $key -Force) }
        [void](New-ItemProperty -LiteralPath $key -Name NoAutoUpdate -Value 1 -PropertyType DWord -Force)
        $changed = $true
    }
}
elseif ($null -eq $before.no_auto_update) {
    if ($null -ne (Get-Current)) {
        Remove-ItemProperty -LiteralPath $key -Name NoAutoUpdate -Force
        $changed = $true
    }
}
elseif ((Get-Current) -ne $before.no_auto_update) {
    [void](New-ItemProperty -LiteralPath $key -Name NoAutoUpdate -Value $before.no_auto_update -PropertyType DWord -Force)
    $changed = $true
}

foreach ($one in @($before.services)) {
    $service = Get-Service -Name $one.name -ErrorAction SilentlyContinue
    if (-not $service) { continue }
    $mode = (Get-CimInstance -ClassName Win32_Service -Filter "Name='$($one.name)'").StartMode
    if ($Deed -eq 'hold') {
        if ($mode -ne 'Disabled') { Set-Service -Name $one.name -StartupType Disabled; $changed = $true }
        if ($service.Status -ne 'Stopped') { Stop-Service -Name $one.name -Force; $changed = $true }
        continue
    }
    if ($mode -ne $one.start) {
        $type = @{ auto = 'Automatic'; manual = 'Manual'; disabled = 'Disabled' }["$($one.start)"]
        Set-Service -Name $one.name -StartupType $type
        if ($one.delayed) {
            # PowerShell 5.1 has no word for the delayed start.
            Set-ItemProperty -LiteralPath "HKLM:\SYSTEM\CurrentControlSet\Services\$($one.name)" -Name DelayedAutostart -Value 1
        }
        $changed = $true
    }
    if ($one.running -and $service.Status -ne 'Running') { Start-Service -Name $one.name; $changed = $true }
}
$Ansible.Changed = $changed
$Ansible.Result = @{ json = (ConvertTo-Json -InputObject @{ changed = $changed } -Compress) }
