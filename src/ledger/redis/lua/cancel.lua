-- Gives back a held reservation.
if status == 'confirmed' then return {now, free, 'already_confirmed'} end
if status == 'expired' then return {now, free, 'expired'} end
if status == 'held' then
  value = row('cancelled', quantity, rest)
  local failure = release({id, value}, quantity, user ~= '' and {[user] = quantity} or {})
  if failure then return failure end
end
return {now, free, 'reservation', value}
