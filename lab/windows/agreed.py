"""What the commands and the process that holds the hosts agree on: ports, ways to log in, names of files."""

HTTP_PORT, HTTPS_PORT = 5985, 5986
#: What a host may offer, in the order in which Windows names it.
KINDS = ("negotiate", "kerberos", "credssp", "certificate", "basic")

SCENARIO, OWNER, PROCESS = "scenario.yml", "owner.json", "process.json"
PASSWORD, ACCOUNTS = "password", "accounts.txt"
#: Where a Kerberos realm is: its name, its configuration and the hosts' keys.
REALM = "realm.json"
JOURNALS, CERTIFICATES = "journals", "certificates"
