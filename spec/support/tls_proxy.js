// SPDX-License-Identifier: MIT
// Takes TLS off connections and passes them on: node tls_proxy.js KEY CERT PORT. Says its own port.
"use strict";
const fs = require("fs"), net = require("net"), tls = require("tls");
const [key, cert, port] = process.argv.slice(2);
const server = tls.createServer({ key: fs.readFileSync(key), cert: fs.readFileSync(cert) }, (secure) => {
  const plain = net.connect(Number(port), "127.0.0.1");
  secure.pipe(plain).pipe(secure);
  for (const one of [secure, plain]) one.on("error", () => { secure.destroy(); plain.destroy(); });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
