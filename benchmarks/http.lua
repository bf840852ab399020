-- What wrk sends, and one line of JSON about how it went.
-- Arguments: method, number of routes (0: the one fixed path /bench/0)

local BROWSER = {
  ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
  ["Accept"] = "application/json, text/plain, */*",
  ["Accept-Language"] = "en-GB,en;q=0.9,de;q=0.8",
  ["Accept-Encoding"] = "gzip, deflate, br, zstd",
  ["Content-Type"] = "application/json",
  ["Origin"] = "http://localhost:5173",
  ["Referer"] = "http://localhost:5173/orders/new",
  ["Connection"] = "keep-alive",
  ["Cookie"] = "session=5f2b7c1e9d3a4f60b8c7d6e5f4a3b2c1; theme=dark",
  ["Sec-Ch-Ua"] = '"Chromium";v="126", "Google Chrome";v="126", "Not-A.Brand";v="8"',
  ["Sec-Ch-Ua-Mobile"] = "?0",
  ["Sec-Ch-Ua-Platform"] = '"Linux"',
  ["Sec-Fetch-Dest"] = "empty",
  ["Sec-Fetch-Mode"] = "cors",
  ["Sec-Fetch-Site"] = "same-site",
}
local BODY_BYTES = 1024
local PATHS = 1000  -- different requests, with one route as with many

local function order()
  local head = '{"customer":{"id":48213,"name":"Ada Lovelace"},"items":['
  local items = {}
  for n = 1, 12 do
    items[n] = string.format('{"sku":"A-%04d","quantity":%d,"price":%d.50,"gift":false}', n, n, n * 3)
  end
  local text = head .. table.concat(items, ",") .. '],"note":"'
  return text .. string.rep("x", BODY_BYTES - #text - 2) .. '"}'
end

function init(args)
  local method, routes = args[1], tonumber(args[2])
  wrk.method = method
  wrk.path = "/bench/0"
  if method == "POST" then
    for name, value in pairs(BROWSER) do wrk.headers[name] = value end
    wrk.body = order()
  end
  if routes > 0 then
    local requests, last = {}, 0
    for n = 0, PATHS - 1 do
      local path = string.format("/bench/%d/items/%d/parts/%d", n % routes, 1000 + n, n)
      requests[n + 1] = wrk.format(method, path)
    end
    request = function()
      last = last % PATHS + 1
      return requests[last]
    end
  end
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
