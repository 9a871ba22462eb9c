<#
.SYNOPSIS
Installs MemCloud for the user who runs this, brings it up to date, or removes it.

.DESCRIPTION
Takes the release for this machine, verifies the checksum that was published with it, tries the programs, and puts them into their places by renames
that are taken back where one fails. It needs no rights of an administrator. For Windows PowerShell 5.1 and PowerShell 7.

    irm https://github.com/memcloud/memcloud/releases/latest/download/install.ps1 | iex

Exit codes: 0 done, or nothing to do; 1 it failed for a reason that has no code of its own, or you answered no; 2 wrong usage; 3 there are no programs
for this platform; 5 the download failed; 6 the download does not have the checksum that was published; 7 no rights to write there; 8 no room on the
disk; 10 the programs do not run here; 11 the programs are installed, but the node was not restarted.

.PARAMETER Version
That version, such as 0.1.0 [default: the latest]. In the environment: MEMCLOUD_INSTALL_VERSION.

.PARAMETER Prefix
The folder to install into [default: %LOCALAPPDATA%\Programs\memcloud]. In the environment: MEMCLOUD_INSTALL_PREFIX.

.PARAMETER AddPath
Put the programs on the user's PATH. In the environment: MEMCLOUD_INSTALL_ADD_PATH=1.

.PARAMETER Yes
Do not ask before a running node is restarted. In the environment: MEMCLOUD_INSTALL_YES=1.

.PARAMETER DryRun
Say what would be done, and do nothing. In the environment: MEMCLOUD_INSTALL_DRY_RUN=1.

.PARAMETER Uninstall
Stop the node, and remove what this script installed.

.PARAMETER Purge
With -Uninstall: remove the node's folder as well, its identity and whom it trusts.

.PARAMETER Keep
With -Uninstall: keep that folder, and do not ask.
#>
[CmdletBinding()]
param(
    [string] $Version = $env:MEMCLOUD_INSTALL_VERSION,
    [string] $Prefix = $env:MEMCLOUD_INSTALL_PREFIX,
    [switch] $AddPath,
    [switch] $Yes,
    [switch] $DryRun,
    [switch] $Uninstall,
    [switch] $Purge,
    [switch] $Keep
)

$Releases = 'https://github.com/memcloud/memcloud/releases'

$ExitOther = 1
$ExitUsage = 2
$ExitPlatform = 3
$ExitDownload = 5
$ExitChecksum = 6
$ExitRights = 7
$ExitRoom = 8
$ExitPrograms = 10
$ExitRestart = 11

# ERROR_HANDLE_DISK_FULL and ERROR_DISK_FULL, as results of Windows.
$DiskFull = @(-2147024857, -2147024784)

# Ends with a code and one line that says why.
function Stop-Install {
    param([int] $Code, [string] $Message)
    $failure = New-Object System.Exception $Message
    $failure.Data['Code'] = $Code
    throw $failure
}

# Runs something that writes, and ends with what went wrong: with the code for no room or no rights where that is why.
function Invoke-Step {
    param([int] $Code, [string] $What, [scriptblock] $Action)
    try {
        & $Action
    } catch {
        $cause = $_.Exception
        while ($null -ne $cause.InnerException) {
            $cause = $cause.InnerException
        }
        if ($DiskFull -contains $cause.HResult) {
            Stop-Install $ExitRoom "there is no room in $Prefix"
        }
        if ($cause -is [System.UnauthorizedAccessException]) {
            Stop-Install $ExitRights "${What}: $($cause.Message)"
        }
        Stop-Install $Code "${What}: $($cause.Message)"
    }
}

# Whether a variable of the environment switches something on.
function Test-Flag {
    param([string] $Value)
    return @('', '0', 'no', 'false') -notcontains $Value
}

# Whether somebody can be asked.
function Test-CanAsk {
    return [Environment]::UserInteractive -and -not [Console]::IsInputRedirected
}

# The platforms whose programs may run here, the likeliest first.
function Get-Target {
    if ([Environment]::OSVersion.Platform -ne [PlatformID]::Win32NT) {
        Stop-Install $ExitPlatform 'this script is for Windows; on Linux and macOS use install.sh'
    }
    $processor = $env:PROCESSOR_ARCHITECTURE
    if ($env:PROCESSOR_ARCHITEW6432) {
        # A PowerShell of 32 bits on a system of 64.
        $processor = $env:PROCESSOR_ARCHITEW6432
    }
    switch ($processor) {
        'AMD64' { return @('x86_64-pc-windows-msvc') }
        # Windows runs the programs of the other processor there, too.
        'ARM64' { return @('aarch64-pc-windows-msvc', 'x86_64-pc-windows-msvc') }
        default { Stop-Install $ExitPlatform "there are no programs for the processor '$processor'" }
    }
}

# Where the archives and SHA256SUMS lie.
function Get-BaseUrl {
    $base = $env:MEMCLOUD_INSTALL_BASE_URL
    if (-not $base) {
        if ($Version) {
            return "$Releases/download/v$Version"
        }
        return "$Releases/latest/download"
    }
    $base = $base.TrimEnd('/')
    if ($base -notmatch '^(https://|file:/|http://(127\.0\.0\.1|localhost|\[::1\])[:/])') {
        Stop-Install $ExitUsage "MEMCLOUD_INSTALL_BASE_URL is https:, file:, or http: to this machine, not '$base'"
    }
    return $base
}

function Save-Url {
    param([string] $Url, [string] $Path)
    Invoke-Step $ExitDownload "cannot download $Url" {
        if ($Url -like 'file:*') {
            Copy-Item -LiteralPath ([Uri] $Url).LocalPath -Destination $Path
        } else {
            Invoke-WebRequest -Uri $Url -OutFile $Path -UseBasicParsing
        }
    }
}

# The first target of which SHA256SUMS has an archive, and its checksum.
function Find-Archive {
    param([string] $Sums, [string[]] $Targets)
    $lines = Get-Content -LiteralPath $Sums
    foreach ($target in $Targets) {
        $name = "memcloud-$target.zip"
        foreach ($line in $lines) {
            if ($line -match '^([0-9a-fA-F]{64}) [ *](.+)$' -and $Matches[2] -eq $name) {
                return @{ Target = $target; Name = $name; Sum = $Matches[1].ToLowerInvariant() }
            }
        }
    }
    Stop-Install $ExitPlatform "this release has no programs for Windows: SHA256SUMS has no line for memcloud-$($Targets[0]).zip"
}

function Get-Sum {
    param([string] $Path)
    return (Get-FileHash -LiteralPath $Path -Algorithm SHA256).Hash.ToLowerInvariant()
}

# What was installed, or nothing.
function Read-Receipt {
    if (-not (Test-Path -LiteralPath $Receipt -PathType Leaf)) {
        return $null
    }
    try {
        return Get-Content -LiteralPath $Receipt -Raw | ConvertFrom-Json
    } catch {
        Stop-Install $ExitOther "$Receipt cannot be read; remove it, and run this again"
    }
}

# Whether the receipt is that of this archive and all of its files are there as they were put.
function Test-Installed {
    param($Installed, [string] $Sum)
    if ($null -eq $Installed -or $Installed.archive -ne $Sum) {
        return $false
    }
    foreach ($file in $Installed.files) {
        $path = Join-Path $Prefix $file.path
        if (-not (Test-Path -LiteralPath $path -PathType Leaf) -or (Get-Sum $path) -ne $file.sum) {
            return $false
        }
    }
    return $true
}

# Whether both programs start, and are what the archive says they are.
function Test-Program {
    param([string] $Folder, [string] $FoundVersion)
    foreach ($name in @('memnode', 'memcli')) {
        $said = $null
        try {
            $said = & (Join-Path $Folder "bin\$name.exe") --version 2>&1 | Out-String
        } catch {
            Stop-Install $ExitPrograms "the programs do not run here: $($_.Exception.Message)"
        }
        if ("$said".Trim() -ne "$name $FoundVersion") {
            Stop-Install $ExitPrograms "the programs do not run here: $name calls itself '$("$said".Trim())', not version '$FoundVersion'"
        }
    }
}

# The files of the unpacked archive that are installed, and where they lie below the prefix.
function Get-Layout {
    param([string] $Folder)
    $layout = @()
    foreach ($name in @('bin\memnode.exe', 'bin\memcli.exe', 'README.md', 'LICENSE', 'CHANGELOG.md', 'VERSION')) {
        $layout += @{ From = (Join-Path $Folder $name); To = $name }
    }
    $completions = Join-Path $Folder 'share\completions\powershell'
    if (Test-Path -LiteralPath $completions) {
        foreach ($file in Get-ChildItem -LiteralPath $completions -File) {
            $layout += @{ From = $file.FullName; To = "completions\$($file.Name)" }
        }
    }
    return $layout
}

# The node of this user, if it runs.
function Get-Node {
    $memcli = Join-Path $Prefix 'bin\memcli.exe'
    if (-not (Test-Path -LiteralPath $memcli -PathType Leaf)) {
        return $null
    }
    try {
        $status = & $memcli --json node status 2>$null | Out-String
        if ($LASTEXITCODE -ne 0) {
            return $null
        }
        return $status | ConvertFrom-Json
    } catch {
        return $null
    }
}

# Whether the running node may be restarted. Ends where somebody says no.
function Confirm-Restart {
    param($Node)
    $used = [math]::Floor($Node.used_bytes / 1048576)
    $what = "A node runs (PID: $($Node.pid)), and what it holds in RAM ($used MiB)"
    if ($Yes) {
        Write-Host "$what goes when it is restarted."
        return $true
    }
    if (-not (Test-CanAsk)) {
        return $false
    }
    if ((Read-Host "$what goes when it is restarted for the upgrade. Go on? [y/N]") -notmatch '^(y|yes)$') {
        Stop-Install $ExitOther 'nothing was changed; the node runs on'
    }
    return $true
}

# The folders that must be made for this one, the outermost first.
function Get-MissingFolder {
    param([string] $Path)
    $missing = @()
    while ($Path -and -not (Test-Path -LiteralPath $Path)) {
        $missing = @($Path) + $missing
        $Path = Split-Path -Parent $Path
    }
    return $missing
}

# Puts all files in their places, or none. A program that runs cannot be overwritten, but it can be renamed.
function Move-IntoPlace {
    param($Layout)
    $suffix = '.memcloud-old'
    $made = @()
    $done = @()
    try {
        foreach ($entry in $Layout) {
            $to = Join-Path $Prefix $entry.To
            foreach ($folder in @(Get-MissingFolder (Split-Path -Parent $to))) {
                New-Item -ItemType Directory -Path $folder | Out-Null
                $made += $folder
            }
            if (Test-Path -LiteralPath "$to$suffix") {
                # Of an upgrade during which it still ran.
                Remove-Item -LiteralPath "$to$suffix" -Force
            }
            $before = Test-Path -LiteralPath $to
            if ($before) {
                [IO.File]::Move($to, "$to$suffix")
            }
            $done += @{ To = $to; Before = $before }
            [IO.File]::Move($entry.From, $to)
        }
    } catch {
        $failure = $_
        for ($index = $done.Count - 1; $index -ge 0; $index--) {
            $to = $done[$index].To
            if (Test-Path -LiteralPath $to) {
                Remove-Item -LiteralPath $to -Force
            }
            if ($done[$index].Before) {
                [IO.File]::Move("$to$suffix", $to)
            }
        }
        for ($index = $made.Count - 1; $index -ge 0; $index--) {
            Remove-Item -LiteralPath $made[$index] -Force -ErrorAction SilentlyContinue
        }
        throw $failure
    }
}

# Programs that ran during an upgrade are removed when they have ended.
function Remove-Old {
    param($Layout)
    foreach ($entry in $Layout) {
        Remove-Item -LiteralPath "$(Join-Path $Prefix $entry.To).memcloud-old" -Force -ErrorAction SilentlyContinue
    }
}

# --- PATH ---

# The user's PATH as it is stored: with variables that are not replaced by what they stand for.
function Get-UserPath {
    $key = Get-Item -LiteralPath 'HKCU:\Environment'
    return $key.GetValue('Path', '', [Microsoft.Win32.RegistryValueOptions]::DoNotExpandEnvironmentNames)
}

function Set-UserPath {
    param([string] $Value)
    Set-ItemProperty -LiteralPath 'HKCU:\Environment' -Name 'Path' -Value $Value -Type ExpandString
    # Setting a variable this way, unlike the registry, tells running programs; this one is gone at once.
    [Environment]::SetEnvironmentVariable('MEMCLOUD_INSTALL_NOTICE', '1', 'User')
    [Environment]::SetEnvironmentVariable('MEMCLOUD_INSTALL_NOTICE', $null, 'User')
}

function Split-UserPath {
    return @((Get-UserPath) -split ';' | Where-Object { $_ })
}

function Add-ToPath {
    $bin = Join-Path $Prefix 'bin'
    $entries = Split-UserPath
    if ($entries -contains $bin) {
        return
    }
    Set-UserPath ((@($bin) + $entries) -join ';')
    Write-Host "Put $bin on your PATH, for programs that are started from now on."
}

function Remove-FromPath {
    $bin = Join-Path $Prefix 'bin'
    $entries = Split-UserPath
    if ($entries -notcontains $bin) {
        return
    }
    if ($DryRun) {
        Write-Host "would remove $bin from your PATH"
        return
    }
    Set-UserPath (($entries | Where-Object { $_ -ne $bin }) -join ';')
    Write-Host "removed $bin from your PATH"
}

# --- what is done ---

function Install-Release {
    $targets = Get-Target
    $base = Get-BaseUrl
    $installed = Read-Receipt
    # On the disk where the files are to be, so that a lack of room shows early; a dry run writes nothing there.
    $beside = $Prefix
    while ($beside -and -not (Test-Path -LiteralPath $beside)) {
        $beside = Split-Path -Parent $beside
    }
    if ($DryRun) {
        $beside = [IO.Path]::GetTempPath()
    }
    $script:Work = Join-Path $beside ".memcloud-install-$([Guid]::NewGuid())"
    Invoke-Step $ExitRights "cannot write $beside" { New-Item -ItemType Directory -Path $Work | Out-Null }

    $sums = Join-Path $Work 'SHA256SUMS'
    Save-Url "$base/SHA256SUMS" $sums
    $archive = Find-Archive $sums $targets
    if (Test-Installed $installed $archive.Sum) {
        Write-Host "MemCloud $($installed.version) is in $Prefix already."
        return
    }
    if ($DryRun) {
        Write-Host "Would download $base/$($archive.Name), and install memnode and memcli into $Prefix\bin."
        Write-Host 'Nothing was changed.'
        return
    }
    $zip = Join-Path $Work $archive.Name
    Write-Host "downloading $base/$($archive.Name)"
    Save-Url "$base/$($archive.Name)" $zip
    if ((Get-Sum $zip) -ne $archive.Sum) {
        Stop-Install $ExitChecksum "$base/$($archive.Name) does not have the checksum that SHA256SUMS tells; try again later"
    }
    Invoke-Step $ExitOther "cannot unpack $($archive.Name)" {
        Expand-Archive -LiteralPath $zip -DestinationPath $Work -Force
        Remove-Item -LiteralPath $zip
    }
    $folder = Join-Path $Work "memcloud-$($archive.Target)"
    $foundVersion = "$(Get-Content -LiteralPath (Join-Path $folder 'VERSION') -ErrorAction SilentlyContinue)".Trim()
    if ($Version -and $foundVersion -ne $Version) {
        Stop-Install $ExitDownload "$base has version $foundVersion, not $Version"
    }
    Test-Program $folder $foundVersion

    $node = Get-Node
    $restart = $false
    if ($null -ne $node) {
        $restart = Confirm-Restart $node
    }
    $layout = @(Get-Layout $folder)
    $files = @($layout | ForEach-Object { [pscustomobject]@{ path = $_.To; sum = (Get-Sum $_.From) } })
    $written = [pscustomobject]@{
        format = 1
        version = $foundVersion
        target = $archive.Target
        archive = $archive.Sum
        files = $files
    }
    Invoke-Step $ExitRights "cannot write $Prefix" {
        $newReceipt = Join-Path $Work 'receipt.json'
        $written | ConvertTo-Json -Depth 4 | Set-Content -LiteralPath $newReceipt -Encoding UTF8
        $all = $layout + @(@{ From = $newReceipt; To = 'receipt.json' })
        Move-IntoPlace $all
    }
    $script:Changed = 'MemCloud is installed'
    if ($null -ne $installed) {
        foreach ($file in $installed.files) {
            if (@($files | ForEach-Object { $_.path }) -notcontains $file.path) {
                Remove-Item -LiteralPath (Join-Path $Prefix $file.path) -Force -ErrorAction SilentlyContinue
            }
        }
    }
    Write-Host "Installed MemCloud $foundVersion in ${Prefix}: memnode, memcli and completions for PowerShell."
    if ($restart) {
        & (Join-Path $Prefix 'bin\memcli.exe') node restart | Out-Host
        if ($LASTEXITCODE -ne 0) {
            Stop-Install $ExitRestart 'MemCloud is installed, but the node was not restarted: memcli said why above'
        }
    } elseif ($null -ne $node) {
        Write-Warning "the running node keeps the old version, since there was nobody to ask whether what it holds in RAM may go; restart it with: memcli node restart"
    }
    Remove-Old ($layout + @(@{ To = 'receipt.json' }))
}

function Show-Next {
    $bin = Join-Path $Prefix 'bin'
    if (@($env:Path -split ';') -notcontains $bin -and -not $AddPath) {
        Write-Host "$bin is not on your PATH: run this again with -AddPath, or type: `$env:Path = '$bin;' + `$env:Path"
    }
    Write-Host 'Next:'
    Write-Host "  memcli node start           a node that lends a quarter of this machine's RAM"
    Write-Host '  memcli set greeting hello   and on any connected machine: memcli get greeting'
    Write-Host '  memcli peer list            the machines around you; memcli connect NAME asks one of them'
}

function Remove-Path {
    param([string] $Path)
    if ($DryRun) {
        Write-Host "would remove $Path"
        return
    }
    Write-Host "remove $Path"
    Invoke-Step $ExitRights "cannot remove $Path" { Remove-Item -LiteralPath $Path -Recurse -Force }
}

function Uninstall-Release {
    $installed = Read-Receipt
    if ($null -eq $installed) {
        Write-Host "MemCloud is not installed in $Prefix."
    } else {
        $node = Get-Node
        if ($null -ne $node -and $DryRun) {
            Write-Host "would stop the node (PID: $($node.pid)); what it holds in RAM goes"
        } elseif ($null -ne $node) {
            Write-Host "stop the node (PID: $($node.pid)); what it holds in RAM goes"
            & (Join-Path $Prefix 'bin\memcli.exe') --quiet node stop
            if ($LASTEXITCODE -ne 0) {
                Stop-Install $ExitOther 'the node did not stop: nothing was removed'
            }
        }
        Remove-FromPath
        foreach ($file in @($installed.files | ForEach-Object { $_.path }) + @('receipt.json')) {
            $path = Join-Path $Prefix $file
            if (Test-Path -LiteralPath $path) {
                Remove-Path $path
            }
        }
        if (-not $DryRun) {
            # What others have put there stays.
            foreach ($folder in @('bin', 'completions', '.')) {
                $path = [IO.Path]::GetFullPath((Join-Path $Prefix $folder))
                if ((Test-Path -LiteralPath $path) -and -not (Get-ChildItem -LiteralPath $path -Force)) {
                    Remove-Item -LiteralPath $path
                }
            }
        }
    }
    if ($null -ne $installed -or $Purge) {
        Resolve-NodeHome
    }
}

# The folder of the node's files, which holds what no installation brings back.
function Resolve-NodeHome {
    $nodeHome = Join-Path $env:USERPROFILE '.memcloud'
    if (-not (Test-Path -LiteralPath (Join-Path $nodeHome 'identity.key'))) {
        return
    }
    $remove = [bool] $Purge
    if (-not $Purge -and -not $Keep -and -not $DryRun -and (Test-CanAsk)) {
        $remove = (Read-Host "Remove $nodeHome too, with the identity of this node and whom it trusts? [y/N]") -match '^(y|yes)$'
    }
    if ($remove) {
        Remove-Path $nodeHome
    } else {
        Write-Host "kept ${nodeHome}: the identity of this node and whom it trusts"
    }
}

# All of it: nothing runs before this is called on the last line.
function Invoke-Main {
    $ErrorActionPreference = 'Stop'
    # Its progress bar makes a download many times slower in Windows PowerShell.
    $ProgressPreference = 'SilentlyContinue'
    [Net.ServicePointManager]::SecurityProtocol = [Net.ServicePointManager]::SecurityProtocol -bor [Net.SecurityProtocolType]::Tls12
    $script:Work = $null
    $script:Changed = 'nothing was changed'
    $script:ExitCode = 0
    $isFinished = $false
    try {
        $script:AddPath = [bool] $AddPath -or (Test-Flag $env:MEMCLOUD_INSTALL_ADD_PATH)
        $script:Yes = [bool] $Yes -or (Test-Flag $env:MEMCLOUD_INSTALL_YES)
        $script:DryRun = [bool] $DryRun -or (Test-Flag $env:MEMCLOUD_INSTALL_DRY_RUN)
        $script:Version = $Version -replace '^v', ''
        if ($script:Version -notmatch '^[0-9A-Za-z.+-]*$') {
            Stop-Install $ExitUsage "'$Version' is no version, such as 0.1.0"
        }
        if (-not $Prefix) {
            $script:Prefix = Join-Path $env:LOCALAPPDATA 'Programs\memcloud'
        }
        $script:Prefix = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($script:Prefix)
        $script:Receipt = Join-Path $script:Prefix 'receipt.json'
        if ($Uninstall) {
            Uninstall-Release
        } else {
            Install-Release
            if ($script:AddPath -and -not $script:DryRun) {
                Add-ToPath
            }
            if ($script:Changed -ne 'nothing was changed') {
                Show-Next
            }
        }
        $isFinished = $true
    } catch {
        $isFinished = $true
        $script:ExitCode = $ExitOther
        if ($_.Exception.Data.Contains('Code')) {
            $script:ExitCode = $_.Exception.Data['Code']
        }
        [Console]::Error.WriteLine("error: $($_.Exception.Message)")
    } finally {
        # Also after Ctrl-C.
        if ($null -ne $script:Work -and (Test-Path -LiteralPath $script:Work)) {
            Remove-Item -LiteralPath $script:Work -Recurse -Force -ErrorAction SilentlyContinue
        }
        if (-not $isFinished) {
            [Console]::Error.WriteLine("error: interrupted; $($script:Changed)")
        }
    }
    # Only a file ends with the code: in a pipe into iex that would close the window of whoever typed it.
    if ($PSCommandPath) {
        exit $script:ExitCode
    }
}

Invoke-Main
