# patch_drain_failover_cluster/undrain.ps1: resumes this node, and waits until it is up. Windows PowerShell 5.1.
[CmdletBinding()]
param (
    [Parameter(Mandatory = $true)]
    [int]
    $Limit,

    [Parameter(Mandatory = $true)]
    [ValidateSet('Immediate', 'NoFailback', 'Policy')]
    [string]
    $Failback
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$Ansible.Changed = $false
Import-Module -Name FailoverClusters

$until = [DateTime]::UtcNow.AddSeconds($Limit)
$state = 'not a member that answers'
while ($true) {
    # After a boot the cluster service joins in its own time.
    if ([string](Get-Service -Name ClusSvc).Status -eq 'Running') {
        $me = Get-ClusterNode -Name $env:COMPUTERNAME -ErrorAction SilentlyContinue
        if ($null -ne $me) { $state = [string]$me.State }
    }
    if ($state -eq 'Up') { break }
    if ($state -eq 'Paused') {
        $Ansible.Changed = $true
        Resume-ClusterNode -Name $me.Name -Failback $Failback | Out-Null
    }
    if ([DateTime]::UtcNow -ge $until) {
        throw "Node $env:COMPUTERNAME is $state, and $Limit s have passed. Look at: Get-Service ClusSvc; Get-ClusterLog"
    }
    Start-Sleep -Seconds 2
}
$failed = @(Get-ClusterGroup | Where-Object { [string]$_.State -eq 'Failed' } | ForEach-Object { $_.Name })
if ($failed.Count -gt 0) {
    throw "Node $env:COMPUTERNAME is up, but roles of the cluster have failed: $($failed -join ', ')."
}
$Ansible.Result = @{ node = [string]$me.Name; state = $state }
