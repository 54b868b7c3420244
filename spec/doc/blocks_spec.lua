-- SPDX-License-Identifier: MIT
-- Runs every block of README.md and doc/: what documents tell their readers to do works, and what they show is what comes. spec/support/document.lua says how a
-- block is marked.
local document = require("spec.support.document")
local helper = require("spec.helper")
local process = helper.process

local function documents()
  local list = { "README.md" }
  local pipe = assert(io.popen("find doc -name '*.md' | LC_ALL=C sort"))
  for path in pipe:lines() do list[#list + 1] = path end
  pipe:close()
  return list
end

local run, left_out = 0, {}

describe("the blocks of", function()
  after_each(helper.cleanup)

  for _, path in ipairs(documents()) do
    local blocks = document.blocks(process.read_file(path))
    if #blocks > 0 then
      it(path, function()
        local problems = {}
        for _, block in ipairs(blocks) do
          local problem = document.problem(block)
          if problem then problems[#problems + 1] = ("%s:%d: %s"):format(path, block.line, problem) end
        end
        assert.equal("", table.concat(problems, "\n"))
        local session = document.session()
        for _, block in ipairs(blocks) do
          if block.skip then
            left_out[#left_out + 1] = ("  %s:%d: %s"):format(path, block.line, block.skip)
          else
            local ok, problem = pcall(session.run, session, block)
            if not ok then error(("%s:%d: %s"):format(path, block.line, problem), 0) end
            run = run + 1
          end
        end
      end)
    end
  end

  teardown(function()
    print(("\n%d blocks run, %d not:\n%s"):format(run, #left_out, table.concat(left_out, "\n")))
  end)
end)

describe("the lists of", function()
  local function names(command)
    local list = {}
    local pipe = assert(io.popen(command))
    for name in pipe:lines() do list[#list + 1] = name end
    pipe:close()
    return list
  end

  local function unnamed(path, list)
    local text, missing = process.read_file(path), {}
    for _, name in ipairs(list) do
      if not text:find("](" .. name, 1, true) then missing[#missing + 1] = name end
    end
    return missing
  end

  it("examples: examples/README.md names each", function()
    -- A folder beside a program of its name belongs to it.
    local list = names("cd examples && ls | grep -v README.md | while read -r n; do [ -e \"$n.lua\" ] || echo \"$n\"; done")
    assert.same({}, unnamed("examples/README.md", list))
  end)

  it("commands: README.md names each", function()
    local missing = {}
    for _, name in ipairs(require("sluice.cli").COMMANDS) do
      if not process.read_file("README.md"):find("| `bin/sluice " .. name, 1, true) then missing[#missing + 1] = name end
    end
    assert.same({}, missing)
  end)

  it("pages: doc/README.md names each", function()
    assert.same({}, unnamed("doc/README.md", names("cd doc && ls *.md howto/*.md | grep -v '^README'")))
  end)
end)

-- Files and headings that a document points to.
describe("the links of", function()
  local function anchors(path)
    local found, fenced = {}, false
    for line in process.read_file(path):gmatch("[^\n]+") do
      if line:find("^```") then fenced = not fenced end
      local title = not fenced and line:match("^#+ (.*)$")
      if title then found[title:lower():gsub("[^%w%s_-]", ""):gsub(" ", "-")] = true end
    end
    return found
  end

  local function without_blocks(text) return (("\n" .. text):gsub("\n```.-\n```", "")) end

  for _, path in ipairs({ "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md", table.unpack(documents()) }) do
    it(path, function()
      local folder = path:match("^(.*/)") or ""
      local broken = {}
      for target in without_blocks(process.read_file(path)):gmatch("%]%(([^)%s]+)%)") do
        if not target:find("^%a+:") then
          local file, anchor = target:match("^([^#]*)#?(.*)$")
          local full = file == "" and path or folder .. file
          local exists = os.execute("test -e " .. process.quote(full))
          if not exists or (anchor ~= "" and full:find("%.md$") and not anchors(full)[anchor]) then broken[#broken + 1] = target end
        end
      end
      assert.same({}, broken)
    end)
  end
end)
