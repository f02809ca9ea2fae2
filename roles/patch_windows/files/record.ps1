# patch_windows/record.ps1: write the orchestrator's own files on this host, in one go, flushed to the disk.
# -Expected is the length of the journal in bytes that the caller has judged; where another has written meanwhile nothing is
# written at all, and the caller judges anew. -1 writes in any case.
[CmdletBinding()]
param(
    [Parameter(Mandatory)][string]$Folder,
    [Parameter(Mandatory)][long]$Expected,
    [Parameter(Mandatory)][AllowEmptyString()][string]$Work
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$utf8 = New-Object Text.UTF8Encoding($false)
$given = ConvertFrom-Json -InputObject $Work

function Get-Place([string]$Name) {
    # Names come from the controller, and must not lead out of the folder.
    if ($Name -notmatch '\A[A-Za-z0-9][A-Za-z0-9._-]*(\\[A-Za-z0-9][A-Za-z0-9._-]*)*\z') {
        throw "'$Name' is no name of a file of the orchestrator."
    }
    "$Folder\$Name"
}

function Open-Flushed([string]$Path, [IO.FileMode]$Mode, [byte[]]$Bytes) {
    $stream = New-Object IO.FileStream($Path, $Mode, [IO.FileAccess]::Write, [IO.FileShare]::Read)
    try {
        $stream.Write($Bytes, 0, $Bytes.Length)
        $stream.Flush($true)
    }
    finally { $stream.Dispose() }
}

function Set-Content-Whole([string]$Path, [string]$Text) {
    # Beside its place first, then there in one step: a power cut leaves the old or the new one.
    [void][IO.Directory]::CreateDirectory([IO.Path]::GetDirectoryName($Path))
    Open-Flushed "$Path.new" ([IO.FileMode]::Create) $utf8.GetBytes($Text)
    # [NullString]: PowerShell would make an empty path of $null.
    if ([IO.File]::Exists($Path)) { [IO.File]::Replace("$Path.new", $Path, [NullString]::Value) }
    else { [IO.File]::Move("$Path.new", $Path) }
}

function New-Private([string]$Path) {
    # SYSTEM and Administrators only: everybody may otherwise write under ProgramData.
    if ([IO.Directory]::Exists($Path)) { return }
    $rules = New-Object Security.AccessControl.DirectorySecurity
    $rules.SetAccessRuleProtection($true, $false)
    foreach ($sid in 'S-1-5-18', 'S-1-5-32-544') {
        $who = New-Object Security.Principal.SecurityIdentifier($sid)
        $rules.AddAccessRule((New-Object Security.AccessControl.FileSystemAccessRule(
                    $who, 'FullControl', 'ContainerInherit, ObjectInherit', 'None', 'Allow')))
    }
    [void][IO.Directory]::CreateDirectory($Path)
    Set-Acl -LiteralPath $Path -AclObject $rules
}

$journal = "$Folder\journal.jsonl"
$mutex = New-Object Threading.Mutex($false, 'Global\patch-orchestrator-journal')
try { $mine = $mutex.WaitOne(30000) } catch [Threading.AbandonedMutexException] { $mine = $true }
if (-not $mine) { throw 'The journal of this host has been locked for 30 s by another process. Try again.' }
try {
    New-Private $Folder
    $length = if ([IO.File]::Exists($journal)) { (New-Object IO.FileInfo($journal)).Length } else { 0 }
    $refused = $Expected -ge 0 -and $length -ne $Expected
    if (-not $refused) {
        # Files first: a journal that says more than the files hold would be believed.
        foreach ($one in @($given.write)) { Set-Content-Whole (Get-Place $one.name) $one.text }
        foreach ($name in @($given.remove)) {
            $place = Get-Place $name
            if ([IO.Directory]::Exists($place)) { [IO.Directory]::Delete($place, $true) }
            elseif ([IO.File]::Exists($place)) { [IO.File]::Delete($place) }
        }
        $lines = @($given.append)
        if ($lines.Count -gt 0) {
            $text = ($lines -join "`n") + "`n"
            if ($length -gt 0) {
                $end = New-Object IO.FileStream($journal, [IO.FileMode]::Open, [IO.FileAccess]::Read, [IO.FileShare]'ReadWrite')
                try { [void]$end.Seek(-1, [IO.SeekOrigin]::End); $last = $end.ReadByte() } finally { $end.Dispose() }
                # A line that a power cut tore is closed, so that it spoils none but itself.
                if ($last -ne 10) { $text = "`n" + $text }
            }
            Open-Flushed $journal ([IO.FileMode]::Append) $utf8.GetBytes($text)
        }
        $length = if ([IO.File]::Exists($journal)) { (New-Object IO.FileInfo($journal)).Length } else { 0 }
    }
}
finally {
    $mutex.ReleaseMutex()
    $mutex.Dispose()
}
$Ansible.Changed = -not $refused
$Ansible.Result = @{ json = (ConvertTo-Json -InputObject @{ refused = $refused; bytes = $length } -Compress) }
