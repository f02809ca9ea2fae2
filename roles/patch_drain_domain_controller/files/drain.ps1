# patch_drain_domain_controller/drain.ps1: looks whether the domain can do without this controller. Windows PowerShell 5.1.
[CmdletBinding()]
param (
    [Parameter(Mandatory = $true)]
    [int]
    $Others
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$Ansible.Changed = $false
Import-Module -Name ActiveDirectory
Add-Type -AssemblyName System.DirectoryServices.Protocols

function Test-Answer {
    # Reads rootDSE without logging in: over WinRM there are no credentials that another machine would take.
    param ([string] $Name)
    $connection = New-Object -TypeName System.DirectoryServices.Protocols.LdapConnection -ArgumentList $Name
    try {
        $connection.AuthType = [System.DirectoryServices.Protocols.AuthType]::Anonymous
        $connection.Timeout = [TimeSpan]::FromSeconds(10)
        $request = New-Object -TypeName System.DirectoryServices.Protocols.SearchRequest
        $request.Filter = '(objectClass=*)'
        $request.Scope = [System.DirectoryServices.Protocols.SearchScope]::Base
        $request.Attributes.Add('isSynchronized') | Out-Null
        $answer = $connection.SendRequest($request)
        return ([string]$answer.Entries[0].Attributes['isSynchronized'][0] -eq 'TRUE')
    }
    catch {
        return $false
    }
    finally {
        $connection.Dispose()
    }
}

$me = Get-ADDomainController -Identity $env:COMPUTERNAME -Server localhost
$all = @(Get-ADDomainController -Filter * -Server localhost | Where-Object { $_.Name -ne $me.Name })
$answering = @($all | Where-Object { Test-Answer -Name $_.HostName })
if ($answering.Count -lt $Others) {
    throw "$($me.Name) cannot leave: $Others other controllers of $($me.Domain) have to answer, and $($answering.Count) do."
}
if (-not $me.IsReadOnly -and @($answering | Where-Object { -not $_.IsReadOnly }).Count -eq 0) {
    throw "$($me.Name) cannot leave: no other writable controller of $($me.Domain) answers."
}
if ($me.IsGlobalCatalog -and @($answering | Where-Object { $_.IsGlobalCatalog }).Count -eq 0) {
    throw "$($me.Name) cannot leave: no other global catalog of $($me.Domain) answers."
}

$problems = @()
foreach ($one in @(Get-ADReplicationFailure -Target $env:COMPUTERNAME -Scope Server | Where-Object { $_.FailureCount -gt 0 })) {
    $problems += "$($one.Partner): error $($one.LastError), $($one.FailureCount) times"
}
foreach ($one in @(Get-ADReplicationPartnerMetadata -Target $env:COMPUTERNAME -Scope Server)) {
    if ($one.LastReplicationResult -ne 0) {
        $problems += "$($one.Partner), $($one.Partition): result $($one.LastReplicationResult)"
    }
}
if ($problems.Count -gt 0) {
    throw "$($me.Name) does not replicate, before anything was done to it: $($problems -join '; '). See: repadmin /showrepl"
}
$Ansible.Result = @{
    controller = [string]$me.Name
    answering = @($answering | ForEach-Object { [string]$_.Name })
    roles_held = @($me.OperationMasterRoles | ForEach-Object { [string]$_ })
}
