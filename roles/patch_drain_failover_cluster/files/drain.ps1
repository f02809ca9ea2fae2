# patch_drain_failover_cluster/drain.ps1: pauses this node and moves its roles to other nodes. Windows PowerShell 5.1.
[CmdletBinding()]
param (
    [Parameter(Mandatory = $true)]
    [int]
    $Limit
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$Ansible.Changed = $false
Import-Module -Name FailoverClusters

$nodes = @(Get-ClusterNode)
$me = Get-ClusterNode -Name $env:COMPUTERNAME
$state = [string]$me.State
$drain = [string]$me.DrainStatus

if ($state -ne 'Up' -and $state -ne 'Paused') {
    throw "Node $($me.Name) is $state before anything was done to it. Bring it up first."
}
if ($state -eq 'Paused' -and $drain -eq 'NotInitiated') {
    throw "Node $($me.Name) is paused, and was not drained: somebody has paused it by hand. Resume it first, or leave it out."
}
$absent = @($nodes | Where-Object { $_.Name -ne $me.Name -and [string]$_.State -ne 'Up' })
if ($absent.Count -gt 0) {
    $told = @($absent | ForEach-Object { "$($_.Name) is $($_.State)" }) -join ', '
    throw "Node $($me.Name) cannot leave: $told. No two nodes may be out of the cluster at once."
}

# The votes as the cluster counts them now, the witness included.
$votes = [int](Get-Cluster).WitnessDynamicWeight
foreach ($node in $nodes) { $votes += [int]$node.DynamicWeight }
$left = $votes - [int]$me.DynamicWeight
if (2 * $left -le $votes) {
    throw "Node $($me.Name) cannot leave: $left of $votes votes would be left, and that is no majority. Look at the witness."
}
$failed = @(Get-ClusterGroup | Where-Object { [string]$_.State -eq 'Failed' } | ForEach-Object { $_.Name })
if ($failed.Count -gt 0) {
    throw "Roles of the cluster have failed before anything was done: $($failed -join ', '). Repair them first."
}

if ($state -eq 'Up') {
    $Ansible.Changed = $true
    Suspend-ClusterNode -Name $me.Name -Drain | Out-Null
}
$until = [DateTime]::UtcNow.AddSeconds($Limit)
while ($true) {
    $me = Get-ClusterNode -Name $env:COMPUTERNAME
    $drain = [string]$me.DrainStatus
    if ([string]$me.State -eq 'Paused' -and $drain -eq 'Completed') { break }
    if ($drain -eq 'Failed') {
        throw "Node $($me.Name) could not be drained: a role did not move. Look at: Get-ClusterGroup; Get-ClusterLog"
    }
    if ([DateTime]::UtcNow -ge $until) {
        throw "Node $($me.Name) is $($me.State), its draining $drain, and $Limit s have passed. Raise the limit, or move its roles."
    }
    Start-Sleep -Seconds 2
}
$Ansible.Result = @{ node = [string]$me.Name; state = [string]$me.State; votes = $votes; votes_left = $left }
