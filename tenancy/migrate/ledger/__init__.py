"""What was applied: all SQL on the ledger's tables (sql/catalog/)."""
