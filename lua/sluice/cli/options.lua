-- SPDX-License-Identifier: MIT
-- The flags that make a configuration, shared by the commands that load one.

local config = require("sluice.config")
local document = require("sluice.config.document")

local options = {}

options.flags = {
  { name = "config", value = "FILE", description = "Reads the configuration from a Lua file." },
  {
    name = "set", value = "KEY=VALUE", many = true, description = "Sets one configuration key.",
    check = function(text)
      if text:find("^[^=]+=") then return true end
      return nil, ('expected KEY=VALUE, got "%s"'):format(text)
    end,
  },
  { name = "listen", value = "ADDR", description = "Listens on host:port; port 0 takes a free one." },
  { name = "workers", value = "N", description = "Starts N workers." },
  { name = "scripts", value = "DIR", description = "Takes the policy scripts of DIR." },
  { name = "insecure", description = "Allows to listen beyond loopback without a key." },
}

local function environment_names()
  local names = {}
  for _, row in ipairs(config.schema) do
    if row.env then names[#names + 1] = row.env end
  end
  return table.concat(names, ", ")
end

-- What `--help` says about configuration keys.
function options.notes()
  return ("Configuration keys, with their defaults (a file, then %s, then flags override them):\n%s"):format(
    environment_names(), document.help())
end

-- Returns the flag of that name, for a command that has some of them.
function options.flag(name)
  for _, flag in ipairs(options.flags) do
    if flag.name == name then return flag end
  end
  return nil
end

-- Resolves the configuration that `given` (see sluice.cli.args) asks for; flags that are a command's own do not count. `loose` as for
-- config.load. Returns it, or nil and a message.
function options.resolve(context, given, loose)
  local set = {}
  for _, flag in ipairs(given.list) do
    local name, text = flag[1], flag[2]
    if name == "set" then
      local key, value = text:match("^([^=]+)=(.*)$")
      set[#set + 1] = { key, value, "--set" }
    elseif name ~= "config" and options.flag(name) then
      set[#set + 1] = { name, text == true and "true" or text, "--" .. name }
    end
  end
  return config.load({ file = given.config, env = context.getenv, set = set, cores = context.core().cores, loose = loose })
end

return options
