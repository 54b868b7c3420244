-- SPDX-License-Identifier: MIT
-- Ids and messages as the specs of the guarantees speak of them.
local helper = require("spec.helper")
local http = helper.http
local luassert = require("luassert")

local messages = {}

-- Splits an id into its two numbers, as text: the second may be any of 64 bits.
function messages.split_id(id)
  local ms, n = id:match("^(%d+)%-(%d+)$")
  assert(ms, "not an id: " .. tostring(id))
  return ms, n
end

-- Compares numbers without leading zeros.
local function less(a, b)
  return #a < #b or (#a == #b and a < b)
end

-- True where id `a` lies before `b`.
function messages.before(a, b)
  local a_ms, a_n = messages.split_id(a)
  local b_ms, b_n = messages.split_id(b)
  return less(a_ms, b_ms) or (a_ms == b_ms and less(a_n, b_n))
end

local function member_of(list, name)
  local values = {}
  for index, message in ipairs(list) do
    values[index] = message[name]
  end
  return values
end

function messages.ids(list)
  return member_of(list, "id")
end

function messages.data(list)
  return member_of(list, "data")
end

-- The numbers `from` to `to` as text.
function messages.numbers(from, to)
  local list = {}
  for number = from, to do
    list[#list + 1] = tostring(number)
  end
  return list
end

-- Publishes the numbers `from` to `to` to `channel` and returns their ids by number.
function messages.publish_numbers(server, channel, from, to)
  local list = {}
  for number = from, to do
    list[#list + 1] = { channel, tostring(number) }
  end
  local ids = {}
  for index, id in ipairs(server:publish_all(list)) do
    ids[from + index - 1] = id
  end
  return ids
end

local marks = 0

-- Publishes a mark to `channel` and waits until the stream has it: what came before is all there was. Returns the messages before the mark.
function messages.up_to_mark(server, stream, channel)
  marks = marks + 1
  local mark = "mark " .. marks
  server:publish(channel, mark)
  local list = stream:wait_messages(function(found)
    return #found > 0 and found[#found].data == mark
  end)
  table.remove(list)
  return list
end

-- Opens a stream of `channels` (a list) that resumes from `id`, and returns all messages it gets up to now. The mark goes to a channel of its own, so that
-- the history of `channels` stays as it is. Options as for a stream; `by` is "header" (the default) or the name of a query parameter.
function messages.resumed(server, channels, id, by)
  marks = marks + 1
  local query = { { "channel", "mark." .. marks } }
  for _, channel in ipairs(channels) do
    query[#query + 1] = { "channel", channel }
  end
  local options = {}
  if by and by ~= "header" then
    query[#query + 1] = { by, id }
  else
    options.last_event_id = id
  end
  local stream = server:stream("/events?" .. http.query(query), options):wait_open()
  local list = messages.up_to_mark(server, stream, "mark." .. marks)
  stream:close()
  return list
end

-- Checks a gap event about `channels` (sorted) and returns its data. sluice.all, which every stream has, may be among them
-- unasked: an id from before the log's start is a gap there too.
function messages.assert_gap(message, requested, channels)
  luassert.is_table(message, "no message at all")
  luassert.equal("sluice.gap", message.event, message.data)
  local gap = helper.json.decode(message.data)
  luassert.equal(requested, gap.requested)
  local named = {}
  for _, channel in ipairs(gap.channels) do
    if channel ~= "sluice.all" or channels[#channels] == "sluice.all" then
      named[#named + 1] = channel
    end
  end
  table.sort(named)
  luassert.same(channels, named)
  for _, name in ipairs{ "oldest", "newest" } do
    luassert.is_true(gap[name] == helper.json.null or gap[name]:find("^%d+%-%d+$") ~= nil, name)
  end
  local members = {}
  for name in pairs(gap) do
    members[#members + 1] = name
  end
  table.sort(members)
  luassert.same({ "channels", "newest", "oldest", "requested" }, members)
  return gap
end

return messages
