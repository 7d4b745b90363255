"""Violence: processes that are killed, answers that are lost, and what the sandbox's ledger says afterwards."""
