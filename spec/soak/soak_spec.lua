-- SPDX-License-Identifier: MIT
-- The short form of the soak (see soak.lua): the same checks on a hundredth of the figures, and no verdict on times, which depend on
-- what else the machine does.
local helper = require("spec.helper")
local soak = require("spec.soak.soak")

local SIZES = { connections = 3000, messages = 20000, channels = 300, streams = 200, stuck = 100, healthy = 10, seconds = 1, rounds = 1,
  rate = 200, patience = 240 }

describe("the soak, in short:", function()
  after_each(helper.cleanup)

  it("connections and messages come and go; nothing is lost, repeated, or left in memory", function()
    local lines = {}
    local wrong = soak.judge_churn(soak.churn(SIZES), function(line)
      lines[#lines + 1] = line
    end)
    assert(#wrong == 0, table.concat(wrong, "\n") .. "\n" .. table.concat(lines, "\n"))
  end)

  for _, channel in ipairs{ "latency", "latency.drop" } do
    it("healthy clients beside 100 stuck ones get everything, in time (" .. channel .. ")", function()
      local lines = {}
      local figures = soak.latency(SIZES, channel)
      local wrong = soak.judge_latency(figures, channel, function(line)
        lines[#lines + 1] = line
      end)
      assert(#wrong == 0 and figures.beside.worst_us < 2000000, table.concat(wrong, "\n") .. "\n" .. table.concat(lines, "\n"))
    end)
  end
end)
