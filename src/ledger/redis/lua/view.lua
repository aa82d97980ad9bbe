-- The reply that shows the whole sale.
local function view(outcome)
  free = math.max(total - sold, 0)
  return {now, free, outcome, total, sold, held, hold, opens, closes, limit, quantity_max}
end
