-- SPDX-License-Identifier: MIT
-- The screen of `sluice listen` on a terminal: a table of how the client stands, and below it the newest events.

local live = {}

-- The other screen, without wrapping lines and without a cursor.
local ENTER, LEAVE = "\27[?1049h\27[?7l\27[?25l", "\27[?25h\27[?7h\27[?1049l"
local HOME, CLEAR_LINE, CLEAR_BELOW = "\27[H", "\27[K", "\27[J"
local REFRESH_S, MIN_GAP_S = 1, 0.05
local KEPT_LINES = 500

local screen = {}
screen.__index = screen

-- `rows()` gives the table, a list of { name, value }; `size()` columns and rows of the terminal; `write(text)`; `now()`.
function live.new(terminal)
  return setmetatable({ terminal = terminal, lines = {}, painted = -math.huge, dirty = true }, screen)
end

-- The first `count` characters.
local function cut(text, count)
  local last = utf8.offset(text, count + 1)
  return last and text:sub(1, last - 1) or text
end

function screen:table_lines()
  local lines, width = {}, 0
  local rows = self.terminal.rows()
  for _, row in ipairs(rows) do width = math.max(width, #row[1]) end
  for i, row in ipairs(rows) do lines[i] = ("%s%s  %s"):format(row[1], (" "):rep(width - #row[1]), row[2]) end
  return lines
end

-- The lines of a picture of that height: the table, an empty line, and as many of the newest events as there is room for.
function screen:picture(height)
  local lines = self:table_lines()
  lines[#lines + 1] = ""
  local room = math.max(0, height - #lines)
  for i = math.max(1, #self.lines - room + 1), #self.lines do lines[#lines + 1] = self.lines[i] end
  return table.move(lines, 1, math.min(#lines, height), 1, {})
end

function screen:paint()
  local columns, height = self.terminal.size()
  local parts = { self.entered and "" or ENTER, HOME }
  for i, line in ipairs(self:picture(height)) do
    parts[#parts + 1] = (i > 1 and "\r\n" or "") .. cut(line, columns) .. CLEAR_LINE
  end
  parts[#parts + 1] = CLEAR_BELOW
  self.entered, self.dirty, self.painted = true, false, self.terminal.now()
  return self.terminal.write(table.concat(parts))
end

-- Adds a line below the table.
function screen:add(line)
  self.lines[#self.lines + 1] = line
  if #self.lines >= 2 * KEPT_LINES then self.lines = table.move(self.lines, #self.lines - KEPT_LINES + 1, #self.lines, 1, {}) end
  self.dirty = true
end

function screen:touch() self.dirty = true end

-- Paints where something is new or a second is over. Returns the seconds after which it wants to be called again.
function screen:turn()
  local wait = self.painted + (self.dirty and MIN_GAP_S or REFRESH_S) - self.terminal.now()
  if wait > 0 then return wait end
  self:paint()
  return REFRESH_S
end

-- Goes back to the ordinary screen.
function screen:leave()
  if self.entered then self.terminal.write(LEAVE) end
  self.entered = false
end

-- Also where an error goes through.
screen.__close = screen.leave

-- Goes back to the ordinary screen and leaves the last picture there.
function screen:finish()
  local _, height = self.terminal.size()
  self:leave()
  self.terminal.write(table.concat(self:picture(height - 1), "\n") .. "\n")
end

return live
