-- Reads and checks the sale. Follows begin.lua and types.lua in every script but reset.lua.
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

  local set = fields_of(SALE, 'held', 'hold_ms', 'opens_at_ms', 'closes_at_ms', 'limit_per_user',
    'quantity_max', 'last_ms', 'split', 'confirmed', 'creation', 'format',
    'returned')
  if set.err then return set end
  local newer = newer_format(set[11])
  if newer then return newer end
  -- Every sale that we created or that has sold has the field: removing it by hand did not undo the
  -- sales.
  if not counters[2]
    and (set[1] or call('EXISTS', RESERVATIONS, CLAIMS, USERS, DEADLINES, STREAM) > 0) then
    return refuse('the hash ' .. COUNTERS .. ' has no ' .. SOLD_FIELD .. ', but the sale has sold: '
      .. REPAIR)
  end
  held = integer(set[1], 0, 0, TOTAL_MAX)
  hold = integer(set[2], HOLD_MS_DEFAULT, 1, HOLD_MS_MAX)
  opens = integer(set[3], 0, 0, TIME_MS_MAX)
  closes = integer(set[4], TIME_MS_MAX, 0, TIME_MS_MAX)
  limit = integer(set[5], 0, 0, LIMIT_MAX)
  quantity_max = integer(set[6], QUANTITY_MAX_DEFAULT, 1, QUANTITY_MAX)
  local last = integer(set[7], 0, 0, TIME_MS_MAX)
  -- At least this many were confirmed, not counting confirmations by older versions.
  local confirmed = integer(set[9], 0, 0, TOTAL_MAX)
  creation = integer(set[10], 0, 0, CREATION_MAX)
  returned = integer(set[12], 0, 0, TOTAL_MAX)
  if not (held and hold and opens and closes and limit and quantity_max and last and confirmed
    and creation and returned) then
    return refuse('a field of the hash ' .. SALE .. ' is no whole number in its range: held '
      .. shown(set[1]) .. ', hold_ms ' .. shown(set[2]) .. ', opens_at_ms '
      .. shown(set[3]) .. ', closes_at_ms ' .. shown(set[4]) .. ', limit_per_user '
      .. shown(set[5]) .. ', quantity_max ' .. shown(set[6]) .. ', last_ms '
      .. shown(set[7]) .. ', confirmed ' .. shown(set[9]) .. ', creation ' .. shown(set[10])
      .. ', returned ' .. shown(set[12]))
  end
  if sale_format >= FORMAT_RULES then
    local rules = call('HMGET', SALE, 'extend_max_ms', 'quantity_min', 'reservations_max', 'made',
      'reservations_per_user_max', 'types', 'by_type')
    extend_max = integer(rules[1], EXTEND_MAX_MS_DEFAULT, 0, HOLD_MS_MAX)
    quantity_min = integer(rules[2], 1, 1, QUANTITY_MAX)
    reservations_max = integer(rules[3], false, 0, TOTAL_MAX)
    made = integer(rules[4], 0, 0, TOTAL_MAX)
    user_max = integer(rules[5], 0, 0, LIMIT_MAX)
    if not (extend_max and quantity_min and reservations_max ~= nil and made and user_max) then
      return refuse('a field of the hash ' .. SALE .. ' is no whole number in its range: extend_max_ms '
        .. shown(rules[1]) .. ', quantity_min ' .. shown(rules[2]) .. ', reservations_max '
        .. shown(rules[3]) .. ', made ' .. shown(rules[4]) .. ', reservations_per_user_max ' .. shown(rules[5]))
    end
    if (rules[6] or rules[7]) and not read_types(rules[6] or '', rules[7] or '') then
      return refuse('the fields types and by_type of the hash ' .. SALE .. ' must be as in '
        .. '"adult:60,child:40" and "0:0,0:0", not ' .. shown(rules[6]) .. ' and ' .. shown(rules[7])
        .. ': ' .. REPAIR)
    end
  end
  if held + confirmed > sold then
    return refuse(SOLD_FIELD .. ' of ' .. COUNTERS .. ' is ' .. format('%d', sold) .. ', but '
      .. format('%d', held) .. ' units are held and ' .. format('%d', confirmed)
      .. ' confirmed: it was set by hand. ' .. REPAIR)
  end
  if last > now then now = last end
  split = set[8]
  -- What 0.1.0 is not to read stands before it (create.lua), or stands there alone.
  if split and string.find(split, '^format %d') then
    split = string.match(split, ', (.*)$')
  end
  if split then
    local kind, count = string.match(split, '^(%l+) (%d+)$')
    parts = integer(count, nil, 2, SPLITS_MAX)
    is_head = kind == 'into'
    if not parts or not (is_head or kind == 'of') then
      return refuse('the field split of the hash ' .. SALE .. ' must be as in "into 4", or "of 4" in '
        .. 'one of the 4 parts, with at most ' .. SPLITS_MAX .. ' parts, not ' .. split)
    end
  end
  -- The present value, which is sent to the replicas all the same.
  if mark ~= '' then
    call('HSET', SALE, 'last_ms', format('%d', last))
    wrote = false
  end
end
