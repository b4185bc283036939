-- One permit, or a place in line for it. Every time is in microseconds on the server's clock.
-- KEYS: grants (list, newest first), line (who by arrival), due (who by the moment they were told), state (hash)
-- ARGV: who (nobody: '', who keeps no place), calls, spacing, patience, urgent, late, forget
-- Returns: granted or not, microseconds until the permit counts
local grants, line, due, state = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local who, calls, spacing, patience = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local urgent, late, forget = ARGV[5] == '1', tonumber(ARGV[6]), tonumber(ARGV[7])
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local function whole(number) return string.format('%.0f', number) end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', whole(now - forget))) do
  redis.call('ZREM', line, id)
  redis.call('ZREM', due, id)
end

-- Who was told an earlier moment and did not come keeps the place, but holds nobody up.
local ahead = 0
if not urgent then
  local rank = redis.call('ZRANK', line, who)
  ahead = rank or redis.call('ZCARD', line)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', '(' .. whole(now - late))) do
    local place = redis.call('ZRANK', line, id)
    if id ~= who and place and (not rank or place < rank) then ahead = ahead - 1 end
  end
end

local held = redis.call('HMGET', state, 'shut', 'spacing')
if calls == 1 then spacing = math.max(spacing, tonumber(held[2] or 0)) end
local last = redis.call('LRANGE', grants, 0, calls - 1)
local times = {}
for i = 1, calls do times[i] = tonumber(last[calls + 1 - i] or 0) end
local start = now
for i = 0, ahead do
  start = math.max(now, tonumber(held[1] or 0), times[i % calls + 1] + spacing)
  times[i % calls + 1] = start
end

local wait = start - now
if ahead == 0 and wait <= patience then
  redis.call('ZREM', line, who)
  redis.call('ZREM', due, who)
  redis.call('LPUSH', grants, whole(start))
  redis.call('LTRIM', grants, 0, calls - 1)
  redis.call('PEXPIRE', grants, whole((wait + spacing) / 1000 + 1000))
  return {1, wait}
end
if who == '' then return {0, wait} end
if not redis.call('ZRANK', line, who) then
  redis.call('ZADD', line, redis.call('HINCRBY', state, 'arrivals', 1), who)
end
redis.call('ZADD', due, whole(start), who)
for _, key in ipairs({line, due, state}) do redis.call('PEXPIRE', key, whole((wait + forget) / 1000 + 86400000)) end
return {0, wait}
