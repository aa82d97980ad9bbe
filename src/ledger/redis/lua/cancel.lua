-- Gives back a held reservation.
if status == 'confirmed' then return {now, free, 'already_confirmed'} end
if status == 'expired' then return {now, free, 'expired'} end
if status == 'held' then
  value = 'cancelled' .. rest
  replace(id, value)
  local by_user = user ~= '' and {[user] = quantity} or {}
  local failure = release(id .. ' ' .. value .. '\n', quantity, by_user)
  if failure then return failure end
end
return {now, free, 'reservation', value}
