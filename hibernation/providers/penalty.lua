-- Nobody calls before a while has passed. Every time is in microseconds on the server's clock.
-- KEYS: state (hash)
-- ARGV: pause (empty: not told), shortest, longest, spacing (empty: not told)
-- Returns: the pause
local state, pause, shortest, longest, spacing = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local held = redis.call('HMGET', state, 'struck', 'strikes', 'shut', 'spacing')
local function whole(number) return string.format('%.0f', number) end

local strikes = 1
if held[1] and now - tonumber(held[1]) < longest then strikes = math.min(tonumber(held[2]) + 1, 20) end
if not pause then pause = math.min(longest, shortest * 2 ^ (strikes - 1)) end
redis.call('HSET', state, 'struck', whole(now), 'strikes', strikes)
redis.call('HSET', state, 'shut', whole(math.max(tonumber(held[3] or 0), now + pause)))
if spacing and spacing > tonumber(held[4] or 0) then redis.call('HSET', state, 'spacing', whole(spacing)) end
redis.call('PEXPIRE', state, whole(pause / 1000 + 86400000))
return pause
