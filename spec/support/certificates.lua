-- SPDX-License-Identifier: MIT
-- An authority of a spec's own, and certificates that it signs, by openssl.
local process = require("spec.support.process")

local certificates = {}

local Authority = {}
Authority.__index = Authority

local KEY = { "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes" }

local function openssl(...)
  local argv = { "openssl" }
  for _, word in ipairs({ ... }) do
    table.move(type(word) == "table" and word or { word }, 1, type(word) == "table" and #word or 1, #argv + 1, argv)
  end
  local status, _, err = process.run(argv)
  if status ~= 0 then error(table.concat(argv, " ") .. ":\n" .. err, 3) end
end

-- Makes an authority in a folder of its own. `file`: its certificate.
function certificates.authority()
  process.need("openssl", "openssl")
  local path = process.temp_dir() .. "/"
  openssl("req", "-x509", KEY, "-subj", "/CN=an authority", "-days", "2", "-keyout", path .. "ca.key", "-out", path .. "ca.pem")
  return setmetatable({ path = path, file = path .. "ca.pem" }, Authority)
end

-- Signs a certificate for `names` ("DNS:localhost,IP:127.0.0.1"), good for `days` (2; -1: it has expired). Returns { cert, key, both }: files, the last with
-- the content of the other two.
function Authority:sign(names, days)
  self.count = (self.count or 0) + 1
  local base = self.path .. self.count
  local made = { cert = base .. ".pem", key = base .. ".key", both = base .. ".both.pem" }
  process.write_file(base .. ".ext", "subjectAltName=" .. names .. "\n")
  openssl("req", KEY, "-subj", "/CN=sluice", "-keyout", made.key, "-out", base .. ".csr")
  openssl("x509", "-req", "-in", base .. ".csr", "-CA", self.file, "-CAkey", self.path .. "ca.key", "-CAcreateserial", "-days", tostring(days or 2),
    "-extfile", base .. ".ext", "-out", made.cert)
  process.write_file(made.both, process.read_file(made.cert) .. process.read_file(made.key))
  return made
end

return certificates
