# patch_drain_domain_controller/undrain.ps1: waits until this controller does its work. Windows PowerShell 5.1.
[CmdletBinding()]
param (
    [Parameter(Mandatory = $true)]
    [int]
    $Limit
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$Ansible.Changed = $false

function Get-Problem {
    # Everything that is not yet as it has to be; nothing where the controller is well.
    foreach ($name in 'NTDS', 'Kdc', 'Netlogon', 'DNS') {
        $service = Get-Service -Name $name -ErrorAction SilentlyContinue
        if ($null -eq $service) {
            # A controller need not serve DNS; the other services come with the role.
            if ($name -ne 'DNS') { "the service $name is not there" }
        }
        elseif ([string]$service.Status -ne 'Running') { "the service $name is $($service.Status)" }
    }
    foreach ($name in 'SYSVOL', 'NETLOGON') {
        if ($null -eq (Get-SmbShare -Name $name -ErrorAction SilentlyContinue)) { "$name is not shared" }
    }
    try {
        Import-Module -Name ActiveDirectory
        $root = Get-ADRootDSE -Server localhost -Properties isSynchronized
        if ([string]$root.isSynchronized -ne 'True') { 'the directory is not synchronized' }
        foreach ($one in @(Get-ADReplicationPartnerMetadata -Target $env:COMPUTERNAME -Scope Server)) {
            if ($one.LastReplicationResult -ne 0) {
                "replication from $($one.Partner) ($($one.Partition)) ended with $($one.LastReplicationResult)"
            }
        }
    }
    catch {
        "the directory does not answer: $($_.Exception.Message)"
    }
}

$until = [DateTime]::UtcNow.AddSeconds($Limit)
while ($true) {
    $problems = @(Get-Problem)
    if ($problems.Count -eq 0) { break }
    if ([DateTime]::UtcNow -ge $until) {
        throw "$env:COMPUTERNAME is not well as a domain controller after $Limit s: $($problems -join '; ')."
    }
    Start-Sleep -Seconds 5
}
$Ansible.Result = @{ controller = [string]$env:COMPUTERNAME }
