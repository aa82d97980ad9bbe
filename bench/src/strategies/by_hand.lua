-- Holds a unit before its order exists, as a shop would write it by hand: one call per request.
-- KEYS: the sale's hash (`free`), its orders (id -> status), their deadlines, the stream.
-- ARGV: order | pay | sweep, then the arguments of each.
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function change(id, status, user)
    call('HSET', KEYS[2], id, status)
    call('XADD', KEYS[4], '*', 'id', id, 'status', status, 'user', user)
end

if ARGV[1] == 'order' then -- id, user, hold_ms
    if tonumber(call('HGET', KEYS[1], 'free')) <= 0 then return 0 end
    call('HINCRBY', KEYS[1], 'free', -1)
    call('ZADD', KEYS[3], now + ARGV[4], ARGV[2])
    change(ARGV[2], 'held', ARGV[3])
    return 1
end

if ARGV[1] == 'pay' then -- id
    if call('HGET', KEYS[2], ARGV[2]) ~= 'held' then return 0 end
    call('ZREM', KEYS[3], ARGV[2])
    change(ARGV[2], 'confirmed', '')
    return 1
end

local due = call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 500)
for _, id in ipairs(due) do
    call('ZREM', KEYS[3], id)
    change(id, 'expired', '')
end
if #due > 0 then call('HINCRBY', KEYS[1], 'free', #due) end
return #due
