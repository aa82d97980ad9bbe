-- One reservation as it stands.
return {now, free, 'reservation', value}
