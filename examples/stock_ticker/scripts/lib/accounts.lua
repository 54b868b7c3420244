-- SPDX-License-Identifier: MIT
-- Who has an account. Keys in a query are for trying things out: with a key in the configuration, auth.lua of the default
-- policy reads the user from a signed token.
return {
  ann = { key = "ann-key", plan = "pro", watchlist = { "ACME", "GLOBEX" } },
  bob = { key = "bob-key", plan = "free", watchlist = { "GLOBEX", "HOOLI", "INITECH" } },
}
