-- One call per purchase, as a shop sends it, for the peers that keep sales in Redis: an idempotency
-- key, one ticket per user, the count, the order in a stream. Returns "1 ID" (granted), "2 ID" (granted
-- before, to this user with this key), "0" (sold out) or "3" (the user has a ticket).
--
-- KEYS: the sale's hash, its claims, its users, its stream. ARGV: reservation id, user, key, and 0 if
-- nothing more may be sold.
local claim = ARGV[2] .. '\n' .. ARGV[3]
local earlier = redis.call('HGET', KEYS[2], claim)
if earlier then
    return { ok = '2 ' .. earlier }
end
local counts = redis.call('HMGET', KEYS[1], 'ticket_total_nums', 'ticket_sold_nums')
if ARGV[4] == '0' or tonumber(counts[2]) >= tonumber(counts[1]) then
    return { ok = '0' }
end
if redis.call('HSETNX', KEYS[3], ARGV[2], ARGV[1]) == 0 then
    return { ok = '3' }
end
redis.call('HSET', KEYS[2], claim, ARGV[1])
redis.call('HINCRBY', KEYS[1], 'ticket_sold_nums', 1)
redis.call('XADD', KEYS[4], '*', 'reservation', ARGV[1], 'user', ARGV[2])
return { ok = '1 ' .. ARGV[1] }
