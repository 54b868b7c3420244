-- SPDX-License-Identifier: MIT
-- Large messages compressed inside of the event's data, for clients and proxies that cannot take `Content-Encoding: gzip`.
--
-- Usage: bin/sluice serve --config examples/envelope/sluice.conf.lua     then open http://127.0.0.1:8080/
--
--   curl -N 'http://127.0.0.1:8080/events?channel=reports'
--   curl -d '{"small":true}' 'http://127.0.0.1:8080/publish?channel=reports'
--   seq 2000 | curl --data-binary @- 'http://127.0.0.1:8080/publish?channel=reports'
--
-- prints {"compressed":false,"data":{"small":true}} and {"compressed":true,"data":"H4sIA..."}.
return {
  listen = "127.0.0.1:8080",
  scripts = "scripts", -- links to those of the default policy, envelope.lua and the page
}
