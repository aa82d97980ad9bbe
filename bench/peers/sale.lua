-- One call per ticket, without a claim: checks the count, increments it, queues the order. Returns 1
-- (granted) or 0 (sold out).
--
-- KEYS: the sale's hash, its stream. ARGV: reservation id, user.
local counts = redis.call('HMGET', KEYS[1], 'ticket_total_nums', 'ticket_sold_nums')
if tonumber(counts[2]) >= tonumber(counts[1]) then
    return 0
end
redis.call('HINCRBY', KEYS[1], 'ticket_sold_nums', 1)
redis.call('XADD', KEYS[2], '*', 'reservation', ARGV[1], 'user', ARGV[2])
return 1
