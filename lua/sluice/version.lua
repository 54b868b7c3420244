-- SPDX-License-Identifier: MIT
-- The version of this Sluice (semantic versioning), for `sluice --version` and `sluice._VERSION`.
return "0.1.0"
