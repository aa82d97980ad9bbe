-- The sale as it stands. Stands before every script; the bounds (TOTAL_MAX, ...) stand before it.
--
-- A script that fails halfway keeps what it wrote, so everything is read and checked first. What is
-- wrong with the data is an error that starts with STAMPEDE: nothing was written. Writes come in
-- the order in which an end between two of them would sell too few and never too many.
--
-- ARGV[1] is empty but for three things: the time in ms for a replayed history (in production it is
-- Redis' own), and behind an @ the epoch in which Sentinels named this primary to who asks. A sale
-- that was written in a later epoch takes nothing from them: they are behind a failover. And at the
-- end a w if WAIT follows: it waits for what the connection wrote last, so something is written even
-- where nothing changes.
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

-- A whole number from min to max, or nil. What is missing has its default.
local function integer(text, default, min, max)
  if not text then return default end
  local n = tonumber(text)
  if n and n >= min and n <= max and n % 1 == 0 then return n end
end

local now, epoch, mark = ARGV[1], nil, ''
if now ~= '' then
  now, epoch, mark = string.match(now, '^(%d*)@?(%d*)(w?)$')
  epoch = tonumber(epoch)
end
if now == '' then
  local time = call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
else
  now = tonumber(now)
end

local free, total, sold, held, hold, opens, closes, limit, quantity_max
-- Of a split sale's head or part: which it is, how many parts there are, whether it is the head.
local split, parts, is_head
local counters = call('HMGET', COUNTERS, TOTAL_FIELD, SOLD_FIELD)
local known = counters[1] or counters[2] or call('EXISTS', COUNTERS) == 1
if known and epoch then
  local written = integer(call('HGET', SALE, 'epoch'), 0, 0, EPOCH_MAX)
  if not written then return refuse('the field epoch of the hash ' .. SALE .. ' is no epoch') end
  if epoch < written then
    return redis.error_reply('FENCED ' .. format('%d', written) .. ' is the epoch in which ' .. SALE
      .. ' was written, and the Sentinels say ' .. format('%d', epoch)
      .. ': they are behind, or were set up anew without `sentinel config-epoch`')
  end
  -- It does no harm alone. If it can't be written, neither can what follows, and that is told.
  if epoch > written then redis.pcall('HSET', SALE, 'epoch', format('%d', epoch)) end
end
if known then
  total = integer(counters[1], nil, 0, TOTAL_MAX)
  sold = integer(counters[2], 0, 0, TOTAL_MAX)
  -- People set these by hand: 1e3 and 0x10 are numbers to Lua, but not to HINCRBY.
  if not total or not sold or string.find(counters[1] .. (counters[2] or ''), '%D') then
    return refuse('the hash ' .. COUNTERS .. ' must have ' .. TOTAL_FIELD .. ' and ' .. SOLD_FIELD
      .. ', whole numbers from 0 to ' .. format('%d', TOTAL_MAX) .. ', not '
      .. shown(counters[1]) .. ' and ' .. shown(counters[2]))
  end
  free = total > sold and total - sold or 0

  local set = call('HMGET', SALE, 'held', 'hold_ms', 'opens_at_ms', 'closes_at_ms',
    'limit_per_user', 'quantity_max', 'last_ms', 'split')
  held = integer(set[1], 0, 0, TOTAL_MAX)
  hold = integer(set[2], HOLD_MS_DEFAULT, 1, HOLD_MS_MAX)
  opens = integer(set[3], 0, 0, TIME_MS_MAX)
  closes = integer(set[4], TIME_MS_MAX, 0, TIME_MS_MAX)
  limit = integer(set[5], 0, 0, LIMIT_MAX)
  quantity_max = integer(set[6], QUANTITY_MAX_DEFAULT, 1, QUANTITY_MAX)
  local last = integer(set[7], 0, 0, TIME_MS_MAX)
  if not (held and hold and opens and closes and limit and quantity_max and last) then
    return refuse('a field of the hash ' .. SALE .. ' is no whole number in its range: held '
      .. shown(set[1]) .. ', hold_ms ' .. shown(set[2]) .. ', opens_at_ms '
      .. shown(set[3]) .. ', closes_at_ms ' .. shown(set[4]) .. ', limit_per_user '
      .. shown(set[5]) .. ', quantity_max ' .. shown(set[6]) .. ', last_ms '
      .. shown(set[7]))
  end
  if held > sold then
    return refuse(SOLD_FIELD .. ' of ' .. COUNTERS .. ' is ' .. format('%d', sold) .. ', but '
      .. format('%d', held) .. ' units are held: to start the sale anew, delete ' .. SALE .. ', '
      .. RESERVATIONS .. ', ' .. CLAIMS .. ', ' .. USERS .. ', ' .. DEADLINES .. ' and ' .. STREAM)
  end
  if last > now then now = last end
  split = set[8]
  if split then
    local kind, count = string.match(split, '^(%l+) (%d+)$')
    parts = integer(count, nil, 2, SPLITS_MAX)
    is_head = kind == 'into'
    if not parts or not (is_head or kind == 'of') then
      return refuse('the field split of the hash ' .. SALE .. ' must be as in "into 4", or "of 4" in '
        .. 'one of the 4 parts, with at most ' .. SPLITS_MAX .. ' parts, not ' .. split)
    end
  end
  -- The value that is there, which is sent to the replicas all the same.
  if mark ~= '' then
    call('HSET', SALE, 'last_ms', format('%d', last))
    wrote = false
  end
end
