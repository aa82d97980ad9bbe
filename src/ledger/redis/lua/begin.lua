-- Names the sale's keys, reads the time, and checks that the sender is not behind a failover.
-- Precedes every script about a sale; the bounds (TOTAL_MAX, ...) precede it.
--
-- A script that fails halfway keeps its writes, so everything is read and checked first. A fault of
-- the data is an error that starts with STAMPEDE: nothing was written. Writes come in an order in
-- which an end between two of them would sell too few and never too many.
--
-- ARGV[1] is empty but for three things: the time in ms for a replayed history (in production it is
-- Redis' own); after an @ the epoch in which Sentinels named this primary to the sender, since a
-- sale that was written in a later epoch accepts nothing from a sender behind a failover; and at
-- the end a w if WAIT follows: it covers the connection's last write, so something is written even
-- if nothing changes.
local COUNTERS, SALE, RESERVATIONS, CLAIMS, USERS, DEADLINES, STREAM =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local TOTAL_FIELD, SOLD_FIELD = ARGV[2], ARGV[3]
local format, tonumber = string.format, tonumber

local function refuse(text)
  return redis.error_reply('STAMPEDE ' .. text)
end

local function shown(text)
  return text or 'nothing'
end

-- A whole number from min to max, or nil. A missing one has its default.
local function integer(text, default, min, max)
  if not text then return default end
  local n = tonumber(text)
  if n and n >= min and n <= max and n % 1 == 0 then return n end
end

-- `micros` is Redis' own time in microseconds, nil for a replayed history.
local now, epoch, mark, micros = ARGV[1], nil, '', nil
if now ~= '' then
  now, epoch, mark = string.match(now, '^(%d*)@?(%d*)(w?)$')
  epoch = tonumber(epoch)
end
if now == '' then
  local time = call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
  micros = time[1] * 1000000 + time[2]
else
  now = tonumber(now)
end

-- Fields of a hash. Names a key of another type: Redis' own error does not.
local function fields_of(key, ...)
  local values = redis.pcall('HMGET', key, ...)
  if not values.err then return values end
  if string.find(values.err, 'WRONGTYPE', 1, true) then
    return refuse('the key ' .. key .. ' is no hash: rename or delete it')
  end
  -- Nothing is written before the sale is read.
  return redis.error_reply('UNDONE ' .. values.err)
end

-- An error if the sale has a format that this version does not read. Without the field it has the
-- first.
local sale_format = 1
local function newer_format(text)
  sale_format = integer(text, 1, 1, FORMATS_MAX)
  if not sale_format then
    return refuse('the field format of the hash ' .. SALE .. ' is no format: ' .. shown(text))
  end
  if sale_format > FORMAT then
    return refuse('the sale has format ' .. format('%d', sale_format) .. ', which a newer version of '
      .. 'stampede has written; this one, ' .. VERSION .. ', reads up to ' .. FORMAT
      .. ': upgrade it')
  end
end

-- The field `split` of a sale with rules begins with this; its text about parts follows, if there
-- is any. 0.1.0 knows no formats; it refuses a sale whose field `split` it can't parse, and shows
-- the field.
local function split_unread(text)
  return 'format ' .. FORMAT_RULES .. (text and ', ' .. text or '')
end

local counters = fields_of(COUNTERS, TOTAL_FIELD, SOLD_FIELD)
if counters.err then return counters end
local known = counters[1] or counters[2] or call('EXISTS', COUNTERS) == 1
if known and epoch then
  local written = integer(call('HGET', SALE, 'epoch'), 0, 0, EPOCH_MAX)
  if not written then return refuse('the field epoch of the hash ' .. SALE .. ' is no epoch') end
  if epoch < written then
    return redis.error_reply('FENCED ' .. format('%d', written) .. ' is the epoch in which ' .. SALE
      .. ' was written, and the Sentinels say ' .. format('%d', epoch)
      .. ': they are behind, or were set up anew without `sentinel config-epoch`')
  end
  -- It does no harm alone. If it can't be written, neither can the next write, which reports it.
  if epoch > written then redis.pcall('HSET', SALE, 'epoch', format('%d', epoch)) end
end

-- The data of the sale.
local free, total, sold, held, hold, opens, closes, limit, quantity_max
-- Reservations that have no units any more.
local returned
-- Bounds that few sales have: how much longer a hold may become, minimum quantity, maximum number
-- of reservations ever (0: no bound; false: bounded by `returned`), and the number made so far (0
-- without a bound); maximum per user. See sale/rules.rs.
local extend_max, quantity_min, reservations_max, made, user_max = EXTEND_MAX_MS_DEFAULT, 1, false, 0, 0
-- Of a sale with ticket types: their text as stored, their names in order, and per name its cap and
-- its held and confirmed units.
local types, type_names, by_type
-- Of a split sale's head or part: its number, the number of parts, whether it is the head.
local split, parts, is_head
-- The creation of the sale, 0 if it was created by hand or by a version before 0.2.0: a sale that
-- is removed and created again keeps its name and gets another number.
local creation
