-- The sale as it stands.
if not known then return {now, -1} end
return view('sale')
