"""WinRM as Windows speaks it: HTTP, authentication, WS-Management, command shells and PowerShell remoting."""
