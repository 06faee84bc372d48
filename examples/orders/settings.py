"""Numbers that the shop and its demo share."""

WEB_THREADS = 8  # for both pages: what an ordinary web server has
FOLLOW = 600  # seconds for which a buyer may follow the payment
