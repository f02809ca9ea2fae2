# patch-orchestrator: look at a Windows host, version 1
#
# What a probe asks of a Windows host, in one go, answered as one line of JSON. Facts only, and nothing is changed: what
# they mean is decided on the controller (winrm_findings.py). For Windows PowerShell 5.1; ASCII only, since it is read
# through standard input. A question that fails is named with its reason, and the others are asked all the same.

Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$told = [ordered]@{ look = 1 }
$failed = @{}

function Get-Value([string]$Path, [string]$Name) {
    # Nothing where the key or the value is missing.
    $key = Get-Item -LiteralPath $Path -ErrorAction SilentlyContinue
    if ($null -ne $key) { return $key.GetValue($Name) }
}

function Test-Below([string]$Path) {
    # Whether the key has keys below it.
    $key = Get-Item -LiteralPath $Path -ErrorAction SilentlyContinue
    return ($null -ne $key) -and ($key.SubKeyCount -gt 0)
}

function Get-PendingReboot {
    $windows = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion'
    $servicing = "$windows\Component Based Servicing"
    $update = "$windows\WindowsUpdate"
    $control = 'HKLM:\SYSTEM\CurrentControlSet\Control'
    foreach ($sign in 'RebootPending', 'RebootInProgress', 'PackagesPending') {
        if (Test-Path -LiteralPath "$servicing\$sign") { "servicing: $sign" }
    }
    if (Test-Path -LiteralPath "$update\Auto Update\RebootRequired") { 'Windows Update: RebootRequired' }
    if (Test-Below "$update\Services\Pending") { 'Windows Update: Services\Pending' }
    foreach ($name in 'PendingFileRenameOperations', 'PendingFileRenameOperations2') {
        # Pairs of a file and its new name; a list of empty texts asks for nothing.
        $files = @(Get-Value "$control\Session Manager" $name | Where-Object { $_ })
        if ($files.Count -gt 0) { "$($name): $($files.Count)" }
    }
    $now = Get-Value "$control\ComputerName\ActiveComputerName" 'ComputerName'
    $next = Get-Value "$control\ComputerName\ComputerName" 'ComputerName'
    if ($now -and $next -and ($now -ne $next)) { "computer name: $now becomes $next" }
    $netlogon = 'HKLM:\SYSTEM\CurrentControlSet\Services\Netlogon'
    foreach ($name in 'JoinDomain', 'AvoidSpnSet') {
        if ($null -ne (Get-Value $netlogon $name)) { "domain: $name" }
    }
}

function Get-ClientReboot {
    # The MECM client keeps a sign in the registry while it waits, and tells by itself what else it waits for.
    if (Test-Path -LiteralPath 'HKLM:\SOFTWARE\Microsoft\SMS\Mobile Client\Reboot Management\RebootData') {
        return 'MECM client: RebootData'
    }
    if (-not (Get-Service -Name 'ccmexec' -ErrorAction SilentlyContinue)) { return }
    $client = @{
        Namespace = 'root\ccm\ClientSDK'
        ClassName = 'CCM_ClientUtilities'
        MethodName = 'DetermineIfRebootPending'
    }
    $asked = Invoke-CimMethod @client
    if ($asked.RebootPending -or $asked.IsHardRebootPending) { 'MECM client: reboot pending' }
}

function Get-ServiceStates {
    $names = 'wuauserv', 'TrustedInstaller', 'ccmexec'
    $filter = ($names | ForEach-Object { "Name='$_'" }) -join ' OR '
    foreach ($service in @(Get-CimInstance -ClassName Win32_Service -Filter $filter)) {
        @{ name = [string]$service.Name; mode = [string]$service.StartMode; state = [string]$service.State }
    }
}

function Get-UpdatePolicy {
    $policy = 'HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate'
    $server = Get-Value $policy 'WUServer'
    $isUsed = (Get-Value "$policy\AU" 'UseWUServer') -eq 1
    $found = @{
        server = ''
        reached = $true
        proxy = $false
        off = (Get-Value "$policy\AU" 'NoAutoUpdate') -eq 1
        option = [int](Get-Value "$policy\AU" 'AUOptions')
        day = [int](Get-Value "$policy\AU" 'ScheduledInstallDay')
        hour = [int](Get-Value "$policy\AU" 'ScheduledInstallTime')
    }
    if ($server -and $isUsed) {
        $found.server = [string]$server
        # Byte 8 of these settings has the flag 2 where WinHTTP, and so Windows Update, goes through a proxy.
        $connections = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Internet Settings\Connections'
        $settings = @(Get-Value $connections 'WinHttpSettings')
        $found.proxy = ($settings.Count -gt 8) -and (($settings[8] -band 2) -ne 0)
        if (-not $found.proxy) { $found.reached = Test-Server ([Uri]$found.server) }
    }
    return $found
}

function Test-Server([Uri]$Server) {
    $client = New-Object System.Net.Sockets.TcpClient
    try {
        $begun = $client.BeginConnect($Server.Host, $Server.Port, $null, $null)
        if (-not $begun.AsyncWaitHandle.WaitOne(3000)) { return $false }
        $client.EndConnect($begun)
        return $true
    } catch {
        return $false
    } finally {
        $client.Close()
    }
}

function Get-IsAdministrator {
    $role = [Security.Principal.WindowsBuiltInRole]::Administrator
    $who = New-Object Security.Principal.WindowsPrincipal ([Security.Principal.WindowsIdentity]::GetCurrent())
    return $who.IsInRole($role)
}

function Get-Uptime {
    $system = Get-CimInstance -ClassName Win32_OperatingSystem -Property LastBootUpTime
    return [long]((Get-Date) - $system.LastBootUpTime).TotalSeconds
}

try { $told.admin = [bool](Get-IsAdministrator) } catch { $failed.admin = [string]$_.Exception.Message }
try { $told.user = [string][Security.Principal.WindowsIdentity]::GetCurrent().Name } catch { $told.user = '' }
try {
    $epoch = New-Object DateTime 1970, 1, 1, 0, 0, 0, ([DateTimeKind]::Utc)
    $told.time = [long][Math]::Floor(([DateTime]::UtcNow - $epoch).TotalSeconds)
} catch { $failed.time = [string]$_.Exception.Message }
try { $told.uptime = Get-Uptime } catch { $failed.uptime = [string]$_.Exception.Message }
try {
    $told.drive = [string]$env:SystemDrive
    $told.free = [long](New-Object System.IO.DriveInfo $env:SystemDrive).AvailableFreeSpace
} catch { $failed.free = [string]$_.Exception.Message }
try { $told.reboot = @(Get-PendingReboot) } catch { $failed.reboot = [string]$_.Exception.Message }
try { $told.client = @(Get-ClientReboot) } catch { $failed.client = [string]$_.Exception.Message }
try { $told.services = @(Get-ServiceStates) } catch { $failed.services = [string]$_.Exception.Message }
try { $told.updates = Get-UpdatePolicy } catch { $failed.updates = [string]$_.Exception.Message }

$told.failed = $failed
[Console]::Out.WriteLine((ConvertTo-Json -InputObject $told -Compress -Depth 4))
