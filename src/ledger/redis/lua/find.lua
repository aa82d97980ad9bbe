-- The one reservation that a command is about: ARGV[4].
if not known then return {now, -1} end
local id = ARGV[4]
local value = stored(id)
if not value then return {now, free, 'unknown_reservation'} end
local status, quantity, rest, user = parse(value)
if not status then return refuse('reservation ' .. id .. ' of ' .. RESERVATIONS .. ': ' .. value) end
