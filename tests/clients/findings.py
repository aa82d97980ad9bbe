"""Prints the findings of testssl, and fails if any is worse than "low"."""

import json
import sys

# Findings about the scanner itself, or about the CA that exists for this test alone. Nothing else belongs here.
EXCUSED = {
    "engine_problem": "neither the scanner's OpenSSL nor the server has GOST",
    "cert_revocation": "the CA publishes no revocation list",
}
# If these findings are missing, the scan was not complete.
LOOKED_AT = {"TLS1_2", "TLS1_3", "cipher_order", "heartbleed", "secure_client_renego", "BREACH"}

with open(sys.argv[1]) as file:
    findings = json.load(file)
wrong = 0
for finding in findings:
    name, severity = finding["id"], finding["severity"]
    if severity in ("OK", "INFO", "DEBUG"):
        continue
    excuse = EXCUSED.get(name)
    is_wrong = severity != "LOW" and not excuse
    wrong += is_wrong
    mark = "WRONG" if is_wrong else "     "
    print(f"  {mark} {severity:8} {name}: {finding['finding']}" + (f" ({excuse})" if excuse else ""))
missing = LOOKED_AT - {finding["id"] for finding in findings}
if missing:
    print("  not looked at:", *sorted(missing))
print(f"  {len(findings)} findings, {wrong} above low")
sys.exit(bool(wrong or missing))
