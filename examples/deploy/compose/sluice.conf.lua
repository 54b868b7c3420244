-- SPDX-License-Identifier: MIT
-- The configuration of both nodes of compose.yaml. JWT_SECRET and REDIS_URL come from the environment.
return {
  listen = "0.0.0.0:8080",
  trust_proxy = { "172.30.80.10" }, -- nginx
  drain = 10, -- compose.yaml waits 15 s
  log = { format = "json" },
}
