//! Problems of requests about seats.

use crate::code::ErrorCode;
use crate::engine::http::Problem;
use crate::limits::RESERVATION_SEATS_MAX;
use crate::sale::seats::SeatRefusal;

/// The problem for a refused request about seats.
pub fn seats_problem(refusal: &SeatRefusal) -> Problem {
    match refusal {
        SeatRefusal::Unexpected => {
            Problem::invalid("seats", "The sale has no seats: give a quantity only.")
        }
        SeatRefusal::JourneyRequired => {
            Problem::invalid("from", "The sale has stops: say from where to where.")
        }
        SeatRefusal::JourneyUnexpected => Problem::invalid("from", "The sale has no stops."),
        SeatRefusal::UnknownStop(stop) => {
            Problem::invalid("from", format!("The sale has no stop {stop}."))
                .with("stop", stop.as_str())
        }
        SeatRefusal::WrongWay(journey) => {
            let (from, to) = (&journey.from, &journey.to);
            Problem::invalid("to", format!("{to} does not come after {from}."))
        }
        SeatRefusal::Departed(stop) => {
            let detail = format!("The departure from {stop} is over.");
            Problem::new(ErrorCode::Closed, detail).with("stop", stop.as_str())
        }
        SeatRefusal::OneClassOnly => {
            Problem::invalid("lines", "A reservation has seats of one class.")
        }
        SeatRefusal::UnknownSeat(seat) => {
            Problem::invalid("seats", format!("There is no seat {seat} to choose."))
                .with("seat", seat.to_string())
        }
        SeatRefusal::GroupTooLarge { row_max } => {
            let detail = format!("The longest row of the class has {row_max} seats.");
            Problem::invalid("quantity", detail).with("row_max", u64::from(*row_max))
        }
        SeatRefusal::Taken(seat) => {
            let detail = format!("The seat {seat} is taken on a part of the journey.");
            Problem::new(ErrorCode::SoldOut, detail).with("seat", seat.to_string())
        }
        SeatRefusal::TooFew { free } => {
            let detail = "Fewer seats of the class are free for this journey than were requested.";
            Problem::new(ErrorCode::SoldOut, detail).with("free", u64::from(*free))
        }
        SeatRefusal::Apart => Problem::new(
            ErrorCode::SoldOut,
            "No row has so many free seats next to each other for this journey.",
        ),
        SeatRefusal::SeatsRequired => Problem::invalid(
            "remaining",
            "The sale has seats: remaining must name those that remain, or be 0.",
        ),
        SeatRefusal::CoachesOnly => {
            Problem::invalid("units", "The stock of a sale with seats is changed by coaches.")
        }
        SeatRefusal::QuantityMax => {
            let detail = format!("A reservation has at most {RESERVATION_SEATS_MAX} seats.");
            Problem::invalid("quantity_max", detail)
        }
    }
}
