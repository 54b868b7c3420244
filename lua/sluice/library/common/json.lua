---@meta
-- SPDX-License-Identifier: MIT
-- Annotations for editors (LuaLS), and the text of doc/reference.md: JSON. Never run.

---@class sluice.json
---@field null lightuserdata stands for `null` in both directions
local json = {}

---64-bit integers as integers.
---@param value any
---@return string? text
---@return string? message
function json.encode(value) end

---Strict (RFC 8259).
---@param text string
---@return any value
---@return string? message
function json.decode(text) end

---Marks a table as an array, so that an empty one is `[]`; returns it.
---@generic T: table
---@param table T
---@return T
function json.array(table) end
