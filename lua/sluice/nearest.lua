-- SPDX-License-Identifier: MIT
-- Finds the word that somebody probably meant, by edit distance. For messages about unknown keys, flags and commands.

local nearest = {}

-- The number of single-character insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
-- Words are cut at 64 bytes, so that a pasted file costs no time.
function nearest.distance(a, b)
  a, b = a:sub(1, 64), b:sub(1, 64)
  local before, last = nil, {}
  for j = 0, #b do last[j] = j end
  for i = 1, #a do
    local row = { [0] = i }
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      local best = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (same and 0 or 1))
      if before and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        best = math.min(best, before[j - 2] + 1)
      end
      row[j] = best
    end
    before, last = last, row
  end
  return last[#b]
end

-- Returns the candidate nearest to `word`, case ignored, and its distance; the first of several equally near ones. A
-- word without a dot is also compared with the last part of dotted candidates, so `heartbeat` finds
-- `stream.heartbeat`.
function nearest.find(word, candidates)
  word = word:lower()
  local best, least
  for _, candidate in ipairs(candidates) do
    local distance = nearest.distance(word, candidate)
    local part = candidate:match("%.([^.]+)$")
    if part and not word:find(".", 1, true) then
      distance = math.min(distance, nearest.distance(word, part) + 1)
    end
    if not least or distance < least then best, least = candidate, distance end
  end
  return best, least
end

-- As find, but nil where not even the nearest resembles `word`.
function nearest.resembling(word, candidates)
  local best, distance = nearest.find(word, candidates)
  if best and distance <= math.max(1, #word // 3) then return best end
  return nil
end

return nearest
