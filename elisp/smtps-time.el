;;; smtps-time.el --- The time at which a mail is to go, read strictly  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; A mail that goes too early can't be called back.  So only such times
;; are taken as can be read in one way, and what was understood is shown
;; behind them while they are typed.

;;; Code:

(require 'cl-lib)
(require 'subr-x)

(defconst smtps-time-forms
  "18:30, tomorrow 9:00, mon 9:00, 2027-01-31 9:00, +30m, +2h or +3d"
  "What may be typed, in words.")

(defvar smtps-time-history nil
  "The times that were typed.")

(defconst smtps-time--days
  '("sunday" "monday" "tuesday" "wednesday" "thursday" "friday" "saturday")
  "The days of the week; three letters of each do.")

(defconst smtps-time--units
  '((?m . 60) (?h . 3600) (?d . day) (?w . week))
  "What a number may count: minutes and hours in seconds, days by the calendar.")

(defun smtps-time--day (word now)
  "Return how many days after NOW the day called WORD is; nil if it is none.
The name of today is none: it may mean in a week."
  (let* ((today (nth 6 (decode-time now)))
         (day (cl-position-if (lambda (name)
                                (member word (list name (substring name 0 3))))
                              smtps-time--days))
         (days (and day (mod (- day today) 7))))
    (pcase word
      ("today" 0)
      ("tomorrow" 1)
      (_ (and days (> days 0) days)))))

(defun smtps-time--at (year month day hour minute)
  "Return the local time of DAY in MONTH of YEAR at HOUR and MINUTE, or nil.
It is nil where there is no such time, as when clocks are put forward."
  (let* ((time (encode-time (list 0 minute hour day month year nil -1 nil)))
         (decoded (decode-time time)))
    (and (= (nth 1 decoded) minute)
         (= (nth 2 decoded) hour)
         (time-convert time 'integer))))

(defun smtps-time--on (days hour minute now)
  "Return the time at HOUR and MINUTE, DAYS after the day of NOW, or nil."
  (pcase-let ((`(,day ,month ,year) (cl-subseq (decode-time now) 3 6)))
    (smtps-time--at year month (+ day days) hour minute)))

(defun smtps-time--number (text index)
  "Return the number that group INDEX of the last match has in TEXT."
  (string-to-number (match-string index text)))

(defun smtps-time--later (text now)
  "Return the time that TEXT, like +1d2h, stands for from NOW, or nil."
  (when (string-match-p "\\`\\+\\(?:[0-9]\\{1,4\\}[mhdw]\\)+\\'" text)
    (let ((days 0) (seconds 0) (start 1))
      (while (string-match "\\([0-9]+\\)\\(.\\)" text start)
        (setq start (match-end 0))
        (let ((count (smtps-time--number text 1)))
          (pcase (alist-get (aref text (match-beginning 2)) smtps-time--units)
            ('day (cl-incf days count))
            ('week (cl-incf days (* 7 count)))
            (unit (cl-incf seconds (* unit count))))))
      (pcase-let ((`(,second ,minute ,hour ,day ,month ,year) (decode-time now)))
        (+ seconds
           (time-convert (encode-time (list second minute hour (+ day days)
                                            month year nil -1 nil))
                         'integer))))))

(defun smtps-time-parse (text &optional now)
  "Return the time that TEXT stands for, seconds since 1970; nil if not surely.
NOW, the time now by default, is what it is told from.  See
`smtps-time-forms'; an hour alone is the next that comes."
  (let* ((case-fold-search nil)
         (text (downcase (string-trim text)))
         (now (time-convert now 'integer))
         (hour "\\([01]?[0-9]\\|2[0-3]\\):\\([0-5][0-9]\\)\\'"))
    (cond
     ((string-match (concat "\\`" hour) text)
      (let ((h (smtps-time--number text 1))
            (m (smtps-time--number text 2)))
        (cl-loop for days in '(0 1)
                 for time = (smtps-time--on days h m now)
                 when (and time (> time now)) return time)))
     ((string-match (concat "\\`\\([a-z]+\\) +" hour) text)
      (let* ((h (smtps-time--number text 2))
             (m (smtps-time--number text 3))
             (days (smtps-time--day (match-string 1 text) now)))
        (and days (smtps-time--on days h m now))))
     ((string-match
       (concat "\\`\\([0-9]\\{4\\}\\)-\\([0-9]\\{2\\}\\)-\\([0-9]\\{2\\}\\)"
               "\\(?: +\\|t\\)" hour)
       text)
      (pcase-let ((`(,year ,month ,day ,h ,m)
                   (mapcar (lambda (index) (smtps-time--number text index))
                           '(1 2 3 4 5))))
        ;; No other day is meant by the 31st of November.
        (and (<= 1 month 12)
             (<= 1 day (nth 3 (decode-time (encode-time
                                            (list 0 0 12 0 (1+ month) year nil -1 nil)))))
             (smtps-time--at year month day h m))))
     (t (smtps-time--later text now)))))

;;; In words

(defun smtps-time-count (count unit)
  "Return in words how many UNITs, COUNT, there are."
  (format "%d %s%s" count unit (if (= count 1) "" "s")))

(defun smtps-time--span (seconds)
  "Return in words in what time, SECONDS from now, something is."
  (let* ((minutes (max 1 (round seconds 60)))
         (parts (cl-loop for (unit . size) in '(("day" . 1440) ("hour" . 60)
                                                ("minute" . 1))
                         for count = (/ minutes size)
                         do (setq minutes (% minutes size))
                         when (> count 0)
                         collect (smtps-time-count count unit))))
    ;; To the minute it is told by the clock.
    (concat "in " (string-join (butlast parts (- (length parts) 2)) " "))))

(defun smtps-time-in-words (time &optional now)
  "Return TIME, in seconds since 1970, in words: from NOW, and by the clock."
  (let ((system-time-locale "C")
        (now (or now (float-time))))
    (format "%s, on %s"
            (smtps-time--span (- time now))
            (format-time-string
             (if (equal (format-time-string "%Y" now)
                        (format-time-string "%Y" time))
                 "%a %-d %b %R"
               "%a %-d %b %Y %R")
             time))))

;;; Reading

(defvar-local smtps-time--shown nil
  "The overlay that shows in the minibuffer what was understood.")

(defun smtps-time--understood (text)
  "Return in words what TEXT, which is being typed, is understood as."
  (let ((time (smtps-time-parse text)))
    (cond ((string-blank-p text) "")
          ((null time) "  (no time)")
          ((<= time (float-time)) "  (in the past)")
          (t (format "  (%s)" (smtps-time-in-words time))))))

(defun smtps-time--show ()
  "Show in the minibuffer what was understood of what stands there."
  (unless smtps-time--shown
    (setq smtps-time--shown (make-overlay (point-max) (point-max) nil t t)))
  (move-overlay smtps-time--shown (point-max) (point-max))
  (let ((text (propertize (smtps-time--understood (minibuffer-contents))
                          'face 'shadow)))
    (unless (string-empty-p text)
      ;; Point stays before it.
      (put-text-property 0 1 'cursor t text))
    (overlay-put smtps-time--shown 'after-string text)))

(defun smtps-time-read (prompt)
  "Ask with PROMPT for a time to come; return it in seconds since 1970.
Return a sentence where what was typed is none."
  (let* ((text (minibuffer-with-setup-hook
                   (lambda ()
                     (add-hook 'post-command-hook #'smtps-time--show nil t))
                 (read-string (format "%s at (%s): " prompt smtps-time-forms)
                              nil 'smtps-time-history)))
         (time (smtps-time-parse text)))
    (cond
     ((null time)
      (format "“%s” is no time that is sure.  Type one like %s."
              text smtps-time-forms))
     ((<= time (float-time))
      (format "%s is in the past." (format-time-string "%F %R" time)))
     (t time))))

(provide 'smtps-time)
;;; smtps-time.el ends here
