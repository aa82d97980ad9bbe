-- The plain design: one call per ticket, with the minimum for a correct sale: checks the count, takes
-- the claim, increments the count, queues the order. Returns 1 (granted), 0 (sold out) or 2 (claimed
-- before).
--
-- KEYS: the sale's hash, its claims, its stream. ARGV: reservation id, user, claim.
local counts = redis.call('HMGET', KEYS[1], 'ticket_total_nums', 'ticket_sold_nums')
if tonumber(counts[2]) >= tonumber(counts[1]) then
    return 0
end
if redis.call('HSETNX', KEYS[2], ARGV[3], ARGV[1]) == 0 then
    return 2
end
redis.call('HINCRBY', KEYS[1], 'ticket_sold_nums', 1)
redis.call('XADD', KEYS[3], '*', 'reservation', ARGV[1], 'user', ARGV[2])
return 1
