# patch_windows/look.ps1: look at the host. Changes nothing.
# Gives one JSON document: the clock and the boot, Windows, what waits for a reboot, services, ports, disks, hotfixes,
# errors in the event log since the boot, who else updates this host, and the orchestrator's own files.
[CmdletBinding(SupportsShouldProcess)]
param(
    [Parameter(Mandatory)][string]$Folder,
    [Parameter(Mandatory)][AllowEmptyString()][string]$Change
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

function Get-Value([string]$Path, [string]$Name) {
    # A value of the registry; nothing where the key or the value is not there.
    if (-not (Test-Path -LiteralPath $Path)) { return $null }
    (Get-Item -LiteralPath $Path).GetValue($Name, $null)
}

function Get-Text([string]$Path) {
    # A file of ours; an empty text where it is not there. Others may be writing: share everything.
    if (-not [IO.File]::Exists($Path)) { return '' }
    $share = [IO.FileShare]'ReadWrite, Delete'
    $stream = New-Object IO.FileStream($Path, [IO.FileMode]::Open, [IO.FileAccess]::Read, $share)
    try { (New-Object IO.StreamReader($stream, (New-Object Text.UTF8Encoding($false)))).ReadToEnd() }
    finally { $stream.Dispose() }
}

function Get-Length([string]$Path) {
    if ([IO.File]::Exists($Path)) { (New-Object IO.FileInfo($Path)).Length } else { 0 }
}

$windows = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion'
$version = 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion'
$policy = 'HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate'
$system = Get-CimInstance -ClassName Win32_OperatingSystem
$boot = $system.LastBootUpTime

# The signs that are cleared by the reboot they ask for come first; files to be renamed are many programs' everyday habit.
$signs = @(
    if (Test-Path -LiteralPath "$windows\Component Based Servicing\RebootPending") { 'servicing' }
    if (Test-Path -LiteralPath "$windows\WindowsUpdate\Auto Update\RebootRequired") { 'windows-update' }
    if (Get-Value 'HKLM:\SYSTEM\CurrentControlSet\Control\Session Manager' 'PendingFileRenameOperations') { 'file-rename' }
)

$services = @(foreach ($one in Get-CimInstance -ClassName Win32_Service) {
        $key = "HKLM:\SYSTEM\CurrentControlSet\Services\$($one.Name)"
        @{
            name = $one.Name
            state = "$($one.State)".ToLowerInvariant()
            start = "$($one.StartMode)".ToLowerInvariant()
            delayed = [bool](Get-Value $key 'DelayedAutostart')
            trigger = Test-Path -LiteralPath "$key\TriggerInfo"
            exit_code = [long]$one.ExitCode
        }
    })

$names = @{}
foreach ($process in Get-Process) { $names[[int]$process.Id] = $process.ProcessName }
$listening = @(foreach ($one in Get-NetTCPConnection -State Listen -ErrorAction SilentlyContinue) {
        $name = $names[[int]$one.OwningProcess]
        @{ address = "$($one.LocalAddress)"; port = [int]$one.LocalPort; process = "$name" }
    })

$disks = @(foreach ($one in [IO.DriveInfo]::GetDrives()) {
        if ($one.DriveType -eq [IO.DriveType]::Fixed -and $one.IsReady) {
            @{ path = $one.Name; total = $one.TotalSize; free = $one.AvailableFreeSpace }
        }
    })

$filter = @{ LogName = 'System'; Level = 1, 2; StartTime = $boot }
# It is an error of Get-WinEvent, and none of ours, that there is no such event.
$events = @(foreach ($one in Get-WinEvent -FilterHashtable $filter -MaxEvents 50 -ErrorAction SilentlyContinue) {
        $first = ("$($one.Message)" -split '\r?\n')[0]
        @{ source = $one.ProviderName; id = [int]$one.Id; text = $first.Substring(0, [Math]::Min(300, $first.Length)) }
    })

# An installation goes on where Windows' installer says so, and where a task of win_updates lives that has written into its
# log lately: one that has finished lives on until somebody takes its last message.
$busy = $false
try { $busy = [bool](New-Object -ComObject Microsoft.Update.Installer).IsBusy } catch { $busy = $false }
$tasks = @([IO.Directory]::GetFiles('\\.\pipe\') | Where-Object { $_ -like '*Ansible.Windows.WinUpdates-*' })
$log = "$Folder\win_updates.log"
$fresh = [IO.File]::Exists($log) -and ([DateTime]::UtcNow - [IO.File]::GetLastWriteTimeUtc($log)).TotalSeconds -lt 180

$auto = Get-Value "$policy\AU" 'NoAutoUpdate'
$rivals = @(foreach ($one in $services | Where-Object { $_.name -eq 'CcmExec' }) {
        @{ name = $one.name; start = $one.start; delayed = $one.delayed; running = ($one.state -eq 'running') }
    })

$point = "$Folder\points\$Change"
$document = @{
    time = [DateTimeOffset]::UtcNow.ToUnixTimeSeconds()
    booted_at = (New-Object DateTimeOffset($boot)).ToUnixTimeSeconds()
    boot_id = "$($boot.ToFileTimeUtc())"
    os = @{
        build = "$(Get-Value $version 'CurrentBuild')"
        revision = [int](Get-Value $version 'UBR')
        name = "$(Get-Value $version 'ProductName')"
        release = "$(Get-Value $version 'DisplayVersion')"
        product_type = [int]$system.ProductType
        architecture = "$env:PROCESSOR_ARCHITECTURE"
    }
    signs = $signs
    services = $services
    listening = $listening
    disks = $disks
    hotfixes = @(Get-CimInstance -ClassName Win32_QuickFixEngineering | ForEach-Object { "$($_.HotFixID)" })
    events = $events
    busy = $busy
    tasks = $tasks.Count
    tasks_fresh = $fresh
    server = if ((Get-Value "$policy\AU" 'UseWUServer') -eq 1) { "$(Get-Value $policy 'WUServer')" } else { '' }
    rivals = @{ no_auto_update = $auto; services = $rivals }
    journal = Get-Text "$Folder\journal.jsonl"
    journal_bytes = Get-Length "$Folder\journal.jsonl"
    claim = Get-Text "$Folder\claim.json"
    held = Get-Text "$Folder\rivals.json"
    point = Get-Text "$point\point.json"
    before = Get-Text "$point\before.json"
    transaction = Get-Text "$point\transaction.json"
}
$Ansible.Changed = $false
$Ansible.Result = @{ json = (ConvertTo-Json -InputObject $document -Depth 6 -Compress) }
