# What PowerShell offers behind memcli, for PowerShell 5 and later. Printed by: memcli completions powershell

Register-ArgumentCompleter -Native -CommandName memcli -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    # The words mean what they mean without their quotes. The last one goes as far as the cursor.
    $words = @()
    foreach ($element in $commandAst.CommandElements) {
        if ($element.Extent.StartOffset -ge $cursorPosition) { break }
        if ($element.Extent.EndOffset -ge $cursorPosition) { break }
        if ($element -is [System.Management.Automation.Language.StringConstantExpressionAst]) {
            $words += $element.Value
        } else {
            $words += $element.Extent.Text
        }
    }
    $words += $wordToComplete.Trim("'", '"')

    # On stdin, since an empty word is no argument to PowerShell, and as UTF-8 both ways.
    $OutputEncoding = [System.Text.UTF8Encoding]::new($false)
    $before = [Console]::OutputEncoding
    [Console]::OutputEncoding = $OutputEncoding
    try {
        $lines = @($words | memcli __complete powershell 2>$null)
    } finally {
        [Console]::OutputEncoding = $before
    }
    # For files and folders nothing is offered here: PowerShell offers its own then.
    foreach ($line in ($lines | Select-Object -Skip 1)) {
        $name, $help = $line.Split("`t", 2)
        if (-not $help) { $help = $name }
        $text = $name
        if ($name -match '[^\w\-./:=@%+,]|^@') { $text = "'" + $name.Replace("'", "''") + "'" }
        [System.Management.Automation.CompletionResult]::new($text, $name, 'ParameterValue', $help)
    }
}
