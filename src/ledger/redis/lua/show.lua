-- Shows the sale.
if not known then return {now, -1} end
return view('sale')
