// SPDX-License-Identifier: MIT
// The cryptography of jwt.lua, by Node's own library, so that tokens are not checked against the code that made them. Reads one JSON object from
// standard input, writes one to standard output:
//   keys  { name: { rsa: bits } | { ec: curve } | { jwk: public key } }     -> { name: { private, public (PEM), jwk (public) } }
//   sign  [ { alg, input, key (text or PEM), key64 (base64) } ]              -> [ base64url signature ]
import crypto from "node:crypto";
import fs from "node:fs";

const PEM = { type: "spki", format: "pem" };

function makeKey({ rsa, ec, jwk }) {
  if (jwk) return { public: crypto.createPublicKey({ key: jwk, format: "jwk" }).export(PEM) };
  const { privateKey, publicKey } = rsa
    ? crypto.generateKeyPairSync("rsa", { modulusLength: rsa })
    : crypto.generateKeyPairSync("ec", { namedCurve: ec });
  return {
    private: privateKey.export({ type: "pkcs8", format: "pem" }),
    public: publicKey.export(PEM),
    jwk: publicKey.export({ format: "jwk" }),
  };
}

function sign({ alg, input, key, key64 }) {
  const [, kind, bits] = /^(HS|RS|PS|ES|DER)(\d+)$/.exec(alg);
  const hash = "sha" + bits;
  if (kind === "HS") return crypto.createHmac(hash, key64 ? Buffer.from(key64, "base64") : key).update(input).digest("base64url");
  const options = { key };
  if (kind === "ES") options.dsaEncoding = "ieee-p1363"; // r and s, as RFC 7518 wants it; DER is what OpenSSL makes
  if (kind === "PS") Object.assign(options, { padding: crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 });
  return crypto.sign(hash, Buffer.from(input), options).toString("base64url");
}

const job = JSON.parse(fs.readFileSync(0, "utf8"));
const keys = Object.fromEntries(Object.entries(job.keys ?? {}).map(([name, what]) => [name, makeKey(what)]));
process.stdout.write(JSON.stringify({ keys, signatures: (job.sign ?? []).map(sign) }));
