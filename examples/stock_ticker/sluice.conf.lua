-- SPDX-License-Identifier: MIT
-- A stock ticker: each user sees the stocks of a watchlist, and of each quote what the plan that was paid for contains.
--
-- Usage: bin/sluice serve --config examples/stock_ticker/sluice.conf.lua
--
--   curl -N 'http://127.0.0.1:8080/quotes?key=ann-key'     # ACME and GLOBEX, with bid and ask
--   curl -N 'http://127.0.0.1:8080/quotes?key=bob-key'     # GLOBEX, HOOLI and INITECH, the price only
--
-- Edit scripts/lib/accounts.lua or scripts/quotes.lua while it runs.
return {
  listen = "127.0.0.1:8080",
  scripts = "scripts",
  -- A client that cannot keep up gets the newest quote of each stock rather than all of them.
  channels = { quotes = { slow = "conflate", messages = 200 } },
}
