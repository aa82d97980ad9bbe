-- Pays a held reservation, also one past its deadline that nobody has returned to stock yet. An
-- expired one takes its units again if they are left.
if status == 'confirmed' then return {now, free, 'reservation', value} end
if status == 'cancelled' then return {now, free, 'already_cancelled'} end

local units
if status == 'expired' then
  if quantity > free then return {now, free, 'expired'} end
  if limit > 0 then
    if user == '' then return {now, free, 'user_required'} end
    units = integer(call('HGET', USERS, user), 0, 0, TOTAL_MAX)
    if not units then return refuse('a number of units in ' .. USERS .. ' is not one') end
    units = units + quantity
    if units > limit then return {now, free, 'limit_reached', limit} end
  end
  sold = sold + quantity
  free = free - quantity
elseif quantity > held then
  return refuse('reservation ' .. id .. ' is held, but ' .. SALE .. ' says that fewer units are')
else
  held = held - quantity
end

call('XLEN', STREAM)
value = 'confirmed' .. rest
replace(id, value)
call('HSET', COUNTERS, SOLD_FIELD, format('%d', sold))
write_changed()
call('HSET', SALE, 'held', format('%d', held), 'last_ms', format('%d', now))
if units then call('HSET', USERS, user, format('%d', units)) end
call('XADD', STREAM, '*', 'reservations', id .. ' ' .. value .. '\n')
return {now, free, 'reservation', value}
