# patch_windows/search.ps1: ask the Windows Update Agent what is on offer and what is installed. Changes nothing.
# Searching is what the agent allows over the network; downloading and installing are done by ansible.windows.win_updates.
[CmdletBinding(SupportsShouldProcess)]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

function Get-Described($Update) {
    $published = 0
    # Some servers tell no date; 1899 is COM's word for none.
    if ($Update.LastDeploymentChangeTime -gt [DateTime]'2000-01-01') {
        $at = [DateTime]::SpecifyKind($Update.LastDeploymentChangeTime, [DateTimeKind]::Utc)
        $published = (New-Object DateTimeOffset($at)).ToUnixTimeSeconds()
    }
    @{
        id = "$($Update.Identity.UpdateID)"
        revision = [int]$Update.Identity.RevisionNumber
        title = "$($Update.Title)"
        kbs = @($Update.KBArticleIDs | ForEach-Object { "KB$_" })
        categories = @($Update.Categories | ForEach-Object { "$($_.Name)" })
        severity = "$($Update.MsrcSeverity)"
        advisories = @(@($Update.SecurityBulletinIDs) + @($Update.CveIDs) | Where-Object { $_ } | ForEach-Object { "$_" })
        size = [long]$Update.MaxDownloadSize
        published = $published
        hidden = [bool]$Update.IsHidden
        installed = [bool]$Update.IsInstalled
        reboot_required = [bool]$Update.RebootRequired
        downloaded = [bool]$Update.IsDownloaded
        removable = [bool]$Update.IsUninstallable
        exclusive = ($Update.InstallationBehavior.Impact -eq 2)
    }
}

$session = New-Object -ComObject Microsoft.Update.Session
$session.ClientApplicationID = 'patch-orchestrator'
$searcher = $session.CreateUpdateSearcher()
$rows = New-Object 'System.Collections.Generic.List[hashtable]'
foreach ($update in $searcher.Search('IsInstalled=0').Updates) { $rows.Add((Get-Described $update)) }
# What is installed is known here: the server need not be asked again.
$searcher.Online = $false
foreach ($update in $searcher.Search('IsInstalled=1').Updates) { $rows.Add((Get-Described $update)) }
$Ansible.Changed = $false
$Ansible.Result = @{ json = (ConvertTo-Json -InputObject @{ updates = $rows.ToArray() } -Depth 5 -Compress) }
