"""Exchange rates: the European Central Bank's reference rates day by day, and a shop's own, which come first.

``reference`` reads the bank's files, ``rates`` keeps them and works out the rates of the currencies that a shop sells
in, ``overview`` says what it sells in and what waits.
"""
