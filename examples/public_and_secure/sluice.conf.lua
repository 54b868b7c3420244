-- SPDX-License-Identifier: MIT
-- A public stream beside a protected one: /events is for all, /secure-events needs a token.
--
-- Usage: bin/sluice serve --config examples/public_and_secure/sluice.conf.lua, and in another shell:
--
--   curl -N http://127.0.0.1:8080/events
--   curl -i http://127.0.0.1:8080/secure-events                                             # 401
--   TOKEN=$(bin/sluice token --config examples/public_and_secure/sluice.conf.lua --sub ann --exp 60)
--   curl -N -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8080/secure-events           # for a minute: then sluice.expired
return {
  listen = "127.0.0.1:8080",
  scripts = "scripts",
  jwt = { key = "this key is for the example only: set JWT_SECRET to a secret of your own" },
}
